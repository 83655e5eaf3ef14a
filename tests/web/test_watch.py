"""Waiting for changes while Redis and PostgreSQL come and go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from app.errors import Unavailable
from app.redis_state import LOGIN_CHANNEL, encode_login_hint, make_subscriber
from devstack.ports import free_port
from devstack.programs import running
from devstack.redis import redis_program
from devstack.redis import redis_url as redis_url_of
from tests.waiting import wait_until
from web.watch import LoginWatch

MakeWatch = Callable[..., LoginWatch]


@pytest.fixture
def make_watch() -> Iterator[MakeWatch]:
    """Builds watches that end with the test."""
    made: list[LoginWatch] = []

    def make(
        url: str, *, versions: Callable[[list[str]], dict[str, int]] = lambda _: {}, fallback_seconds: float = 3600.0
    ) -> LoginWatch:
        made.append(
            LoginWatch(
                make_subscriber=lambda: make_subscriber(url),
                read_versions=versions,
                fallback_seconds=fallback_seconds,
            )
        )
        return made[-1]

    yield make
    for watch in made:
        watch.close()


def hint_until_heard(client: redis.Redis, viewer_waits: Callable[[float], bool]) -> None:
    """Publish until the viewer wakes: a subscription takes a moment to stand."""

    def heard() -> bool:
        client.publish(LOGIN_CHANNEL, encode_login_hint("lgn_1", 2))
        return viewer_waits(0.2)

    wait_until(heard, within_seconds=20)


def test_a_hint_wakes_the_viewers_of_its_login_only(redis_url: str, make_watch: MakeWatch) -> None:
    """Another login's viewer sleeps on, and so does one who knows the version already."""
    watch = make_watch(redis_url)
    with (
        redis.Redis.from_url(redis_url) as client,
        watch.viewing("lgn_1") as first,
        watch.viewing("lgn_1") as knowing,
        watch.viewing("lgn_2") as other,
    ):
        knowing.known_version = 2
        hint_until_heard(client, first.wait)
        assert not knowing.wait(0.1)
        assert not other.wait(0.1)
    assert watch.count() == 0


def test_hints_come_again_after_redis_was_away(tmp_path: Path, make_watch: MakeWatch) -> None:
    """A restarted Redis is subscribed to again, without anybody's help."""
    port = free_port()
    program = redis_program(tmp_path, port=port, log=tmp_path / "redis.log")
    watch = make_watch(redis_url_of(port))
    with watch.viewing("lgn_1") as viewer:
        for _ in range(2):
            with running(program), redis.Redis.from_url(redis_url_of(port)) as client:
                hint_until_heard(client, viewer.wait)
            viewer.wait(0)


def test_the_fallback_serves_while_redis_is_away(make_watch: MakeWatch) -> None:
    """Without any hint, one query for all viewed logins finds the change."""
    asked: list[list[str]] = []

    def versions(login_ids: list[str]) -> dict[str, int]:
        asked.append(sorted(login_ids))
        return {"lgn_1": 2, "lgn_2": 1}

    watch = make_watch("redis://127.0.0.1:1/0", versions=versions, fallback_seconds=0.1)
    with watch.viewing("lgn_1") as first, watch.viewing("lgn_1"), watch.viewing("lgn_2") as second:
        second.known_version = 1
        assert first.wait(10)
        assert not second.wait(0.3)
    assert ["lgn_1", "lgn_2"] in asked


@pytest.mark.parametrize("error", [Unavailable("away"), RuntimeError("a fault of ours")])
def test_the_fallback_outlives_errors(make_watch: MakeWatch, error: Exception) -> None:
    """PostgreSQL away, or anything else: the next round asks again."""
    rounds: list[float] = []

    def versions(_: list[str]) -> dict[str, int]:
        rounds.append(time.monotonic())
        if len(rounds) < 3:
            raise error
        return {"lgn_1": 2}

    watch = make_watch("redis://127.0.0.1:1/0", versions=versions, fallback_seconds=0.05)
    with watch.viewing("lgn_1") as viewer:
        assert viewer.wait(10)
