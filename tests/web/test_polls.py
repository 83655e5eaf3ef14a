"""A plain poll is answered by the shortest way, and by nothing else can it be told from any other call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask, request, request_started
from sqlalchemy import text
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from app.core import Core
from app.redis_state import login_qr_key
from tests.web.callers import Caller, members, problem, with_key
from tests.web.conftest import MakeClient
from tests.web.playing_worker import PlayingWorker

FLASKS_WAY = "?wait=0"  # says nothing, but a plain poll has no query

STATES: dict[str, Callable[[PlayingWorker], object]] = {
    "queued": lambda _: None,
    "waiting_for_scan": lambda worker: worker.publish_qr(),
    "code_required": lambda worker: worker.ask_code(),
    "password_required": lambda worker: worker.ask_password(),
    "failed": lambda worker: worker.finish("failed", reason="flood_wait"),
}


@contextmanager
def counting_flask() -> Iterator[list[str]]:
    """The paths that Flask itself has answered."""
    seen: list[str] = []

    def note(_app: Flask, **_: Any) -> None:
        seen.append(request.full_path)

    with request_started.connected_to(note):
        yield seen


def poll(caller: Caller, path: str) -> TestResponse:
    """Read a login by the shortest way; the key is one that the process knows."""
    caller.get(f"{path}{FLASKS_WAY}")
    with counting_flask() as seen:
        answer = caller.get(path)
    assert (answer.status_code == 200) == (not seen), answer.text
    return answer


def test_both_ways_give_the_same_answer(alice: Caller, core: Core) -> None:
    """In each state: status, headers but for the request's id and how much is left, and the body."""
    for status, bring_about in STATES.items():
        login = alice.start_login(metadata={"note": "ünï"})
        bring_about(PlayingWorker(core, login["id"]))
        path = f"/v1/logins/{login['id']}"
        short, long = poll(alice, path), alice.get(f"{path}{FLASKS_WAY}")
        assert members(short)["status"] == status
        assert (short.status, short.data) == (long.status, long.data)
        own = {"X-Request-Id", "RateLimit"}
        assert {(name, value) for name, value in short.headers if name not in own} == {
            (name, value) for name, value in long.headers if name not in own
        }
        assert own <= set(short.headers.keys())


def test_both_ways_are_logged_and_counted_alike(alice: Caller, web: tuple[Any, Any]) -> None:
    """One line each of the same fields, and the same counters; an offered id is kept."""
    path = f"/v1/logins/{alice.start_login()['id']}"
    poll(alice, path)
    registry, labels = web[1].core.registry, {"method": "GET", "route": "/v1/logins/<id:login_id>"}

    def counted() -> float:
        return registry.get_sample_value("latchkey_http_requests_total", labels | {"status": "200"}) or 0

    lines, counts = [], [counted()]
    for way in ("", FLASKS_WAY):
        with capture_logs() as logs:
            answer = alice.get(f"{path}{way}", X_Request_Id="mine")
            assert answer.headers["X-Request-Id"] == "mine"
            answer.close()
        lines += [line for line in logs if line["event"] == "request"]
        counts.append(counted())
    assert counts[2] - counts[1] == counts[1] - counts[0] == 1
    assert [line.pop("duration_ms") >= 0 for line in lines] == [True, True]
    assert lines[0] == lines[1]
    assert lines[0]["api_key_id"] == alice.key_id


def test_a_poll_counts_once(make_client: MakeClient, alice: Caller, bob: Caller) -> None:
    """Whatever comes of it: an answer, 404, or 429 when they are used up; nobody pays twice for what goes Flask's way."""
    client, parts = make_client(read_rate_per_minute=6)
    path = f"/v1/logins/{alice.start_login()['id']}"
    caller, other = (with_key(client, parts.core, tenant_id=each.tenant_id) for each in (alice, bob))
    answers = [poll(caller, path), *(caller.get(path) for _ in range(4))]
    assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == [
        f"r={left}" for left in (4, 3, 2, 1, 0)
    ]
    refused = caller.get(path)
    problem(refused, 429, "rate_limited")
    assert refused.headers["RateLimit"].startswith('"reads-per-key";r=0')
    answers = [other.get(path) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == [f"r={left}" for left in (5, 4, 3, 2)]


def test_what_changed_is_seen_at_once(make_client: MakeClient, alice: Caller, core: Core) -> None:
    """A new QR code, one that is over, what another process wrote: nothing older is shown again."""
    login = alice.start_login()
    path, worker = f"/v1/logins/{login['id']}", PlayingWorker(core, login["id"])
    poll(alice, path)
    first, second = worker.publish_qr(), worker.publish_qr(life_seconds=0.3)
    assert first != second
    assert members(poll(alice, path))["qr"]["url"] == second
    time.sleep(0.3)
    assert members(poll(alice, path))["qr"] is None
    worker.publish_qr()
    core.redis.delete(login_qr_key(login["id"]))
    assert members(poll(alice, path))["qr"] is None
    client, _ = make_client()
    elsewhere = Caller(client, "alice", alice.headers)
    assert members(elsewhere.delete(path))["status"] == "cancelled"
    assert members(poll(alice, path))["status"] == "cancelled"


@pytest.mark.parametrize(
    "headers",
    [{"If_None_Match": '"x"'}, {"Range": "bytes=0-1"}, {"Authorization": "bearer lk_x"}],
)
def test_what_is_not_plain_goes_flasks_way(alice: Caller, headers: dict[str, str]) -> None:
    """Conditions, a body, a key spelled otherwise: whatever has a say in the answer."""
    path = f"/v1/logins/{alice.start_login()['id']}"
    poll(alice, path)
    with counting_flask() as seen:
        alice.get(path, **headers)
        alice.call("HEAD", path)
        alice.get("/v1/logins/lgn_none")
    assert len(seen) == 3


def test_what_is_wrong_is_said_by_flask(alice: Caller, core: Core) -> None:
    """A fault of the database is a problem like any other call's, and counted like it."""
    path = f"/v1/logins/{alice.start_login()['id']}"
    poll(alice, path)
    with core.engine.begin() as connection:
        connection.execute(text("ALTER TABLE logins RENAME TO away"))
    try:
        problem(alice.get(path), 500, "internal_error")
    finally:
        with core.engine.begin() as connection:
            connection.execute(text("ALTER TABLE away RENAME TO logins"))
    poll(alice, path)


def test_without_redis_a_poll_shows_what_is_stored(make_client: MakeClient, alice: Caller, core: Core) -> None:
    """The limit of reads fails open, and there is no QR code to show."""
    login = alice.start_login()
    PlayingWorker(core, login["id"]).publish_qr()
    client, _ = make_client(redis_url="redis://127.0.0.1:1/0")
    elsewhere = Caller(client, "alice", alice.headers)
    answer = poll(elsewhere, f"/v1/logins/{login['id']}")
    assert members(answer)["status"] == "waiting_for_scan"
    assert members(answer)["qr"] is None
    assert "RateLimit" not in answer.headers
