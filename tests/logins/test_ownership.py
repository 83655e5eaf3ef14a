"""Who scanned: the expected account or another, and what becomes of the session it had before."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from app.models import AuditEvent
from app.sessions.claim import lock_account
from tests.logins.stage import Stage
from tests.waiting import wait_until


def sign_in(stage: Stage, user_id: int, **fields: Any) -> str:
    """Log an account in; the login's id."""
    started = stage.start(**fields)
    stage.telegram.scan(user_id, stage.wait_for_qr(started.login.id))
    return started.login.id


def test_the_expected_account_may_sign_in(stage: Stage) -> None:
    """Expected and seen are the same."""
    user_id = stage.telegram.create_account()["id"]
    stage.wait_for(sign_in(stage, user_id, telegram_user_id=user_id), "authorized")


def test_another_account_than_the_expected_is_logged_out_at_once(stage: Stage) -> None:
    """failed/ownership_mismatch, audited, counted, gone from its authorizations, nothing stored, older session untouched."""
    alice, mallory = (stage.telegram.create_account()["id"] for _ in range(2))
    stage.wait_for(sign_in(stage, mallory), "authorized")
    (older,) = stage.sessions()
    login_id = sign_in(stage, mallory, telegram_user_id=alice)
    assert stage.wait_for(login_id, "failed").reason == "ownership_mismatch"
    wait_until(lambda: len(stage.telegram.authorizations(mallory)) == 1)
    (session,) = stage.sessions()
    assert (session.id, session.status) == (older.id, "active")
    with stage.core.transaction() as db:
        event = db.scalars(select(AuditEvent).where(AuditEvent.action == "login.ownership_refused")).one()
        assert (event.subject, event.tenant_id) == (login_id, "alice")
        assert event.details == {"expected_telegram_user_id": alice, "telegram_user_id": mallory}
    counted = stage.workers[0].core.registry.get_sample_value(
        "telethon_ownership_mismatch_total", {"tenant_id": "alice"}
    )
    assert counted == 1


def test_the_worker_is_off_the_auth_key_before_anybody_can_lease_it(stage: Stage) -> None:
    """Whoever hears that the login is over may use the session at once: a second connection would be its end."""
    user_id = stage.telegram.create_account()["id"]
    started = stage.start(telegram_user_id=user_id)
    url = stage.wait_for_qr(started.login.id)
    assert stage.new("connections") == 1
    with stage.core.transaction() as db:  # the claim waits for this lock, and nothing is committed before
        lock_account(db, tenant_id="alice", telegram_user_id=user_id)
        stage.telegram.scan(user_id, url)
        wait_until(lambda: stage.new("connections") == 0)
        assert stage.sessions() == []
    stage.wait_for(started.login.id, "authorized")


def test_the_newest_session_wins(stage: Stage) -> None:
    """An unexpected user who turns out to have one: the older is marked replaced, and asked to be logged out."""
    user_id = stage.telegram.create_account()["id"]
    stage.wait_for(sign_in(stage, user_id), "authorized")
    login = stage.wait_for(sign_in(stage, user_id), "authorized")
    older, newer = stage.sessions()
    assert (older.status, older.logout_pending, newer.status) == ("replaced", True, "active")
    assert login.session_id == newer.id
    wait_until(lambda: any(task[1:] == (older.id,) for worker in stage.workers for task in worker.sent))


def test_sessions_of_other_tenants_are_not_replaced(stage: Stage) -> None:
    """The same account may be connected to Alice's and to Bob's application."""
    user_id = stage.telegram.create_account()["id"]
    stage.wait_for(sign_in(stage, user_id), "authorized")
    started = stage.start(tenant="bob")
    url = stage.wait_for_qr(started.login.id, tenant="bob")
    stage.telegram.scan(user_id, url)
    wait_until(lambda: stage.sessions(tenant="bob"))
    assert [each.status for each in stage.sessions() + stage.sessions(tenant="bob")] == ["active", "active"]
