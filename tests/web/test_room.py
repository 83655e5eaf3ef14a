"""A few costly calls are worked on at once; the others wait in line, and hold nothing meanwhile."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from flask.testing import FlaskClient

from app.errors import Unavailable
from tests.waiting import wait_until
from tests.web.callers import Caller, problem
from web.parts import Parts
from web.room import AT_ONCE, Room


def test_as_many_as_there_is_room_for_are_let_in() -> None:
    """The next one comes in when one goes, and whoever waited too long hears it."""
    room, inside = Room(longest_seconds=0.05), threading.Semaphore(0)
    with ExitStack() as held:
        for _ in range(AT_ONCE):
            held.enter_context(room.taken())
        with pytest.raises(Unavailable), room.taken():
            inside.release()
        assert not inside.acquire(blocking=False)
    with room.taken():
        inside.release()
    assert inside.acquire(blocking=False)


def test_who_waits_for_room_holds_no_connection_and_stops_no_read(
    web: tuple[FlaskClient, Parts], alice: Caller, nobody: Caller
) -> None:
    """POSTs wait, with an idempotency key as well; a read and a refusal do not; then all are answered."""
    client, parts = web
    path = f"/v1/logins/{alice.start_login()['id']}"
    with ThreadPoolExecutor(40) as pool:
        with ExitStack() as held:
            for _ in range(AT_ONCE):
                held.enter_context(parts.room.taken())
            waiting = [
                pool.submit(
                    Caller(client.application.test_client(), "alice", alice.headers).post,
                    "/v1/logins",
                    {},
                    Idempotency_Key=f"key {number}",
                )
                for number in range(30)
            ]
            wait_until(lambda: parts.room.waiting() == 30)
            assert parts.core.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # of a QueuePool
            assert alice.get(path).status_code == 200
            problem(nobody.post("/v1/logins"), 401, "unauthenticated")
            assert not any(each.done() for each in waiting)
        assert [each.result().status_code for each in waiting] == [202] * 30
