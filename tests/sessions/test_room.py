"""A worker's room: validations and log-outs that wait for Telegram leave threads for everything else."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import ModuleType

import pytest

from app.clock import utc_now
from app.periodic import one_at_a_time
from app.sessions.planning import TICKET_SECONDS
from app.sessions.revocation import revoke_session
from tests.sessions.stage import Stage
from tests.waiting import wait_until

ROOM = 3


@pytest.fixture
def tasks(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The tasks of sessions as a worker runs them, with the stage's parts."""
    settings = stage.settings
    environment = {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "TELEGRAM_API_ID": str(settings.telegram_api_id),
        "TELEGRAM_API_HASH": settings.telegram_api_hash.get_secret_value(),
        "LOCAL_KEY_FILE": str(settings.local_key_file),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    module = importlib.import_module("tasks.sessions")
    parts = importlib.import_module("tasks.bootsteps").parts
    parts.core, parts.telegram = stage.core, stage.parts
    yield module
    del parts.core, parts.telegram


def test_a_batch_that_finds_no_room_goes_back_at_once(stage: Stage, tasks: ModuleType) -> None:
    """Telegram is slow, and every place taken: nothing is sent, the session is due again within seconds, and then validated."""
    slow, late = [stage.connect() for _ in range(ROOM)], stage.connect()
    ticket = utc_now() + timedelta(seconds=TICKET_SECONDS)
    for session_id in (*slow, late):
        stage.change(session_id, next_validation_at=ticket)
    stage.telegram.add_fault("users.getUsers", delay_ms=4000, times=ROOM)
    with ThreadPoolExecutor(ROOM) as pool:
        running = [pool.submit(tasks.validate_session_batch, ticket.isoformat(), each) for each in slow]
        wait_until(lambda: [stage.row(each).lease_id for each in slow].count(None) == 0, every_seconds=0.1)
        began = time.monotonic()
        tasks.validate_session_batch(ticket.isoformat(), late)
        assert time.monotonic() - began < 2
        again_at = stage.row(late).next_validation_at
        assert again_at is not None
        assert utc_now() < again_at <= utc_now() + timedelta(seconds=10)
        assert stage.row(late).lease_id is None
        for each in running:
            each.result(20)
    tasks.validate_session_batch(again_at.isoformat(), late)  # unless one that got free took it, for then it was due
    assert stage.counted("ok") == ROOM + 1


def test_a_worker_goes_on_with_what_is_due(stage: Stage, tasks: ModuleType) -> None:
    """A message says that there is something to do; when its own sessions are done, what is due meanwhile is taken, too."""
    planned, due, not_due = (stage.connect() for _ in range(3))
    ticket = utc_now() + timedelta(seconds=TICKET_SECONDS)
    stage.change(planned, next_validation_at=ticket)
    stage.change(due, next_validation_at=utc_now())
    stage.change(not_due, next_validation_at=ticket)
    tasks.validate_session_batch(ticket.isoformat(), planned)
    validated = {each: stage.row(each).last_validated_at is not None for each in (planned, due, not_due)}
    before = stage.row(not_due).next_validation_at
    assert stage.counted("ok") == 2
    assert before == ticket
    assert validated[planned]
    assert validated[due]


def test_a_session_that_does_not_open_takes_no_other_with_it(stage: Stage) -> None:
    """A batch is held in one transaction; what is wrong with one of them is that one's."""
    whole, broken = stage.connect(), stage.connect()
    stage.change(broken, session_sealed=b"broken")
    assert stage.validate(whole, broken) == {"ok": 1, "sealed": 1}
    assert stage.row(broken).lease_id is None


def test_a_worker_helps_with_a_rotation(stage: Stage, tasks: ModuleType) -> None:
    """What is sealed under another key than the active one ends under that, and opens; one helper at a time."""
    session_id, keyring = stage.connect(), stage.core.keyring
    new = keyring.replace_active(keyring.active_key_id())
    keys = importlib.import_module("tasks.keys")
    with one_at_a_time(stage.core.redis, "latchkey.help_rotation"):
        keys.help_with_rotation()
    assert stage.row(session_id).key_id != new
    keys.help_with_rotation()
    assert stage.row(session_id).key_id == new
    assert stage.validate(session_id) == {"ok": 1}


def test_a_log_out_that_finds_no_room_goes_back_at_once(stage: Stage, tasks: ModuleType) -> None:
    """It is due again within seconds, is not counted as a try, and is done when there is room."""
    slow, late = [stage.connect() for _ in range(ROOM)], stage.connect()
    for session_id in (*slow, late):
        revoke_session(stage.core, tenant_id="alice", session_id=session_id, actor="test", reason="requested")
    stage.telegram.add_fault("auth.logOut", delay_ms=4000, times=ROOM)
    with ThreadPoolExecutor(ROOM) as pool:
        running = [pool.submit(tasks.log_out_session, each) for each in slow]
        wait_until(lambda: all(stage.row(each).lease_id for each in slow))
        tasks.log_out_session(late)
        row = stage.row(late)
        assert (row.status, row.logout_tries, row.lease_id) == ("revoking", 0, None)
        assert row.next_logout_at is not None
        assert row.next_logout_at <= utc_now() + timedelta(seconds=8)
        for each in running:
            each.result(20)
    tasks.log_out_session(late)
    assert [stage.row(each).status for each in (*slow, late)] == ["revoked"] * (ROOM + 1)
