"""Cancelling a login, at every state and with or without its worker: nothing is left at Telegram."""

from __future__ import annotations

import contextlib

import pytest
from sqlalchemy import update

from app.clock import utc_now
from app.logins.service import cancel_login
from app.models import Login
from sandbox.driver import SandboxRefusedError
from tests.logins.stage import ALICE, Stage
from tests.waiting import wait_until


def cancel(stage: Stage, login_id: str) -> None:
    """Cancel, and see it answered at once."""
    assert cancel_login(stage.core, login_id=login_id, reader=ALICE).status == "cancelled"


def settled(stage: Stage, login_id: str) -> bool:
    """Whether the login's key was logged out; one whose QR code was on show may still wait for a late scan."""
    with stage.core.transaction() as db:
        assert db.get_one(Login, login_id).auth_key_sealed is None
    return all(key.tries == 1 and key.next_try_at == key.final_ask_at for key in stage.leaving_keys())


def test_a_queued_login_is_cancelled(stage: Stage) -> None:
    """No worker has seen it; the one that comes leaves at once."""
    stage.run_dispatched = False
    started = stage.start()
    cancel(stage, started.login.id)
    stage.run(started.login.id).join(5)
    assert [each.name for each in stage.outcomes] == ["not_mine"]
    assert stage.new("connections") <= 0


def test_a_waiting_login_is_cancelled_within_three_seconds(stage: Stage) -> None:
    """Its worker hears of it at once, logs the key out and closes the connection; the clean-up is measured."""
    started = stage.start()
    stage.wait_for_qr(started.login.id)
    cancel(stage, started.login.id)
    wait_until(lambda: settled(stage, started.login.id) and stage.new("connections") <= 0, within_seconds=3)
    registry = stage.workers[0].core.registry
    assert registry.get_sample_value("telethon_session_cleanup_duration_seconds_count") == 1
    took = registry.get_sample_value("telethon_session_cleanup_duration_seconds_sum")
    assert took is not None
    assert took < 3


def test_a_login_that_waits_for_a_password_leaves_no_ghost(stage: Stage) -> None:
    """The password_pending authorization disappears from the account's devices."""
    account = stage.telegram.create_account(password="secret")
    started = stage.start()
    stage.telegram.scan(account["id"], stage.wait_for_qr(started.login.id))
    stage.wait_for(started.login.id, "password_required")
    cancel(stage, started.login.id)
    wait_until(lambda: stage.telegram.authorizations(account["id"]) == [], within_seconds=3)


@pytest.mark.parametrize("accept", ["next_export", "at_once"])
def test_a_scan_that_comes_with_the_cancel_is_logged_out(stage: Stage, accept: str) -> None:
    """Whoever scans in the last moment has no session of ours in their list, and we have none stored."""
    account = stage.telegram.create_account(accept=accept)
    started = stage.start()
    url = stage.wait_for_qr(started.login.id)
    cancel_login(stage.core, login_id=started.login.id, reader=ALICE)
    # The key may be gone by now: then there is nothing to scan.
    with contextlib.suppress(SandboxRefusedError):
        stage.telegram.scan(account["id"], url)
    wait_until(lambda: settled(stage, started.login.id))
    wait_until(lambda: stage.telegram.authorizations(account["id"]) == [])
    assert stage.sessions() == []


def test_a_cancel_while_the_worker_is_away_is_cleaned_up_by_the_next(stage: Stage) -> None:
    """The key that left says that a log-out is due; whoever comes does it."""
    account = stage.telegram.create_account(password="secret")
    started = stage.start()
    stage.telegram.scan(account["id"], stage.wait_for_qr(started.login.id))
    stage.wait_for(started.login.id, "password_required")
    stage.run_dispatched = False
    stage.workers[0].logins.drain()
    wait_until(lambda: stage.outcomes)
    cancel(stage, started.login.id)
    assert len(stage.telegram.authorizations(account["id"])) == 1
    stage.add_worker()
    stage.log_out_left_keys(worker=1)
    assert stage.telegram.authorizations(account["id"]) == []
    assert stage.leaving_keys() == []


def test_a_login_out_of_time_that_was_scanned_meanwhile_is_completed(stage: Stage) -> None:
    """Somebody scanned while no worker was there, and the first worker came late: the scan counts."""
    account = stage.telegram.create_account(accept="at_once")
    started = stage.start()
    url = stage.wait_for_qr(started.login.id)
    stage.run_dispatched = False
    stage.workers[0].logins.drain()
    wait_until(lambda: stage.outcomes)
    stage.telegram.scan(account["id"], url)
    with stage.core.transaction() as db:
        db.execute(update(Login).values(expires_at=utc_now()))
    stage.add_worker()
    stage.run(started.login.id, worker=1)
    stage.wait_for(started.login.id, "authorized")
