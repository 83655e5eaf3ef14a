"""Turns: a few starts at a time, and reads behind none of them."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import Any

import pytest

from app.errors import Unavailable
from app.models import Tenant
from tests.web.callers import problem, with_key
from tests.web.conftest import MakeClient
from web import turns
from web.turns import AT_ONCE, Turns


def test_no_more_than_so_many_are_in() -> None:
    """And everybody has a turn."""
    at_once, inside, most, served = Turns(at_once=3), 0, 0, 0
    lock, full = threading.Lock(), threading.Barrier(3)

    def come() -> None:
        nonlocal inside, most, served
        with at_once.turn():
            with lock:
                inside += 1
                most = max(most, inside)
            full.wait(10)  # three at a time, or never
            with lock:
                inside -= 1
                served += 1

    crowd = [threading.Thread(target=come) for _ in range(12)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join(20)
    assert (most, served) == (3, 12)


def test_a_turn_is_given_back_by_whoever_fails() -> None:
    """Otherwise a few failures would end all starts."""
    only = Turns(at_once=1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), only.turn():
            raise ZeroDivisionError


def test_while_all_turns_are_taken_a_start_is_put_off_and_a_read_is_not(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with a time to come back, and nothing is stored; the same start serves when there is a turn."""
    monkeypatch.setattr(turns.Turns.__init__, "__kwdefaults__", {"at_once": AT_ONCE, "longest_wait_seconds": 0.05})
    client, parts = make_client()
    with parts.core.transaction() as db:
        db.add(Tenant(id="alice", name="Alice"))
    alice = with_key(client, parts.core, tenant_id="alice")
    login = alice.start_login()
    key: dict[str, Any] = {"Idempotency-Key": "once"}
    with ExitStack() as taken:
        for _ in range(AT_ONCE):
            taken.enter_context(parts.starts.turn())
        answer = alice.post("/v1/logins", {}, **key)
        problem(answer, 503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        with pytest.raises(Unavailable), parts.starts.turn():
            pass
        assert alice.get(f"/v1/logins/{login['id']}").status_code == 200
    assert alice.post("/v1/logins", {}, **key).status_code == 202
