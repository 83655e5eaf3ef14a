"""Long polls and event streams, on a real server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
import requests
from sqlalchemy import text

from app.redis_state import LOGIN_CHANNEL
from tests.waiting import wait_until
from tests.web.live import Live
from tests.web.playing_worker import PlayingWorker

HINTED_SECONDS = 2.0  # less than the fallback's period: whoever is quicker was woken by a hint
FALLBACK_SECONDS = 8.0


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads for callers that wait."""
    with ThreadPoolExecutor(max_workers=120) as pool:
        yield pool


def _poll(live: Live, login_id: str, *, wait: int, version: int) -> tuple[dict[str, object], float]:
    started = time.monotonic()
    answer = live.call("GET", f"/v1/logins/{login_id}", params={"wait": wait, "version": version})
    assert answer.status_code == 200, answer.text
    return answer.json(), time.monotonic() - started


def test_a_long_poll_answers_when_the_version_passes(live: Live, threads: ThreadPoolExecutor) -> None:
    """A hint ends the wait at once, with what is new."""
    login = live.start_login()
    worker = PlayingWorker(live.core, login["id"])
    polled = threads.submit(_poll, live, login["id"], wait=20, version=login["version"])
    url = _publish_once_waiting(live, worker, polled)
    seen, seconds = polled.result()
    assert seen["qr"] == {"url": url, "expires_at": seen["qr"]["expires_at"]}  # type: ignore[index]
    assert seen["version"] > login["version"]
    assert seconds < 20


def test_a_long_poll_does_not_need_the_hint(live: Live, threads: ThreadPoolExecutor) -> None:
    """A lost hint costs seconds: the fallback query sees the row."""
    login = live.start_login()
    worker = PlayingWorker(live.core, login["id"])
    polled = threads.submit(_poll, live, login["id"], wait=20, version=login["version"])
    worker.advance(hint=False, status="waiting_for_scan")
    seen, seconds = polled.result()
    assert seen["status"] == "waiting_for_scan"
    assert seconds < FALLBACK_SECONDS


def test_a_long_poll_answers_when_the_time_is_up(live: Live) -> None:
    """Nothing new: the Login as it is, after the wait."""
    login = live.start_login()
    seen, seconds = _poll(live, login["id"], wait=1, version=login["version"])
    assert seen["version"] == login["version"]
    assert 1 <= seconds < 5


def test_a_long_poll_answers_at_once_when_there_is_news(live: Live) -> None:
    """The version that the caller has is behind already."""
    login = live.start_login()
    _, seconds = _poll(live, login["id"], wait=20, version=0)
    assert seconds < 5


def test_a_final_login_is_answered_at_once(live: Live) -> None:
    """Nothing more will happen to it."""
    login = live.start_login()
    version = PlayingWorker(live.core, login["id"]).finish("expired").version
    seen, seconds = _poll(live, login["id"], wait=20, version=version)
    assert seen["status"] == "expired"
    assert seconds < 5


def test_a_stream_tells_every_state_and_ends(live: Live) -> None:
    """The Login at once, then each change as it comes, and the end after the final state."""
    login = live.start_login()
    worker = PlayingWorker(live.core, login["id"])
    with live.events(login["id"]) as events:
        first = next(events)
        assert (first.kind, first.id, first.login["status"]) == ("login", "1", "queued")
        started = time.monotonic()
        url = worker.publish_qr()
        assert next(events).login["qr"]["url"] == url
        worker.ask_password()
        assert next(events).login["password"] == {"hint": "first dog", "attempts_left": 5}
        worker.finish("failed", reason="password_attempts_exhausted")
        last = next(events)
        assert (last.login["status"], last.login["reason"]) == ("failed", "password_attempts_exhausted")
        assert int(last.id) == last.login["version"]
        assert list(events) == []
        assert time.monotonic() - started < 3 * HINTED_SECONDS


def test_a_stream_of_a_final_login_is_one_event(live: Live) -> None:
    """It says how it ended, and ends."""
    login = live.start_login()
    PlayingWorker(live.core, login["id"]).finish("cancelled")
    with live.events(login["id"]) as events:
        assert [event.login["status"] for event in events] == ["cancelled"]


def test_a_stream_does_not_need_hints(live: Live) -> None:
    """Lost hints cost seconds each."""
    login = live.start_login()
    worker = PlayingWorker(live.core, login["id"])
    with live.events(login["id"]) as events:
        next(events)
        started = time.monotonic()
        worker.finish("expired", hint=False)
        assert next(events).login["status"] == "expired"
        assert time.monotonic() - started < FALLBACK_SECONDS


@pytest.mark.parametrize("last_event_id", ["1", "999999", "garbage"])
def test_last_event_id_is_harmless(live: Live, last_event_id: str) -> None:
    """A browser that reconnects gets the Login as it is, whatever it saw last."""
    login = live.start_login()
    with live.events(login["id"], **{"Last-Event-ID": last_event_id}) as events:
        assert next(events).login["id"] == login["id"]
        PlayingWorker(live.core, login["id"]).finish("expired")
        assert [event.login["status"] for event in events] == ["expired"]


def test_a_stream_that_may_not_be_read_is_a_problem(live: Live) -> None:
    """404 before anything is streamed."""
    answer = requests.get(f"{live.url}/v1/logins/lgn_none/events", headers=dict(live.headers), timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_many_viewers_cost_one_subscription_and_no_connection(live: Live, threads: ThreadPoolExecutor) -> None:
    """100 streams of 100 logins: one Redis subscription, a pool's worth of database connections, quick answers."""
    wait_until(lambda: live.metric("latchkey_http_event_streams") == 0, within_seconds=40)
    logins = [live.start_login() for _ in range(100)]
    with ExitStack() as opened:
        streams = list(threads.map(lambda login: opened.enter_context(live.events(login["id"])), logins))
        for stream in streams:
            next(stream)
        assert live.metric("latchkey_http_event_streams") == 100
        # Channels are the server's: web processes of tests before this one listen until they notice that they are closed.
        one = [(LOGIN_CHANNEL.encode(), 1)]
        wait_until(lambda: live.core.redis.pubsub_numsub(LOGIN_CHANNEL) == one, within_seconds=40)
        assert _database_connections(live) <= 16 + 2
        started = time.monotonic()
        assert live.call("GET", f"/v1/logins/{logins[0]['id']}").status_code == 200
        assert time.monotonic() - started < 2
        for login in logins:
            PlayingWorker(live.core, login["id"]).finish("expired")
        assert {next(stream).login["status"] for stream in streams} == {"expired"}
    wait_until(lambda: live.metric("latchkey_http_event_streams") == 0)


def test_a_viewer_who_left_is_forgotten(live: Live) -> None:
    """A closed connection frees its stream at the next thing there is to say."""
    login = live.start_login()
    worker = PlayingWorker(live.core, login["id"])
    with live.events(login["id"]) as events:
        next(events)

    def gone() -> bool:
        worker.advance(retry_after_at=None)
        return live.metric("latchkey_http_event_streams") == 0

    wait_until(gone, every_seconds=0.2)


def _publish_once_waiting(live: Live, worker: PlayingWorker, polled: Future[Any]) -> str:
    """Publish when the poll is likely to wait already; it must be right either way."""
    wait_until(lambda: live.core.redis.pubsub_numsub(LOGIN_CHANNEL)[0][1] == 1)
    assert not polled.done()
    return worker.publish_qr()


def _database_connections(live: Live) -> int:
    with live.core.transaction() as db:
        count: int = db.execute(
            text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        ).scalar_one()
    return count
