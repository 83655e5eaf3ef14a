"""A re-login: the session keeps its id, end user and metadata, and gets a new auth key; the old one is logged out."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from app.clock import utc_now
from app.logins.sweep import resume_orphaned_logins
from app.models import TelegramSession
from app.sessions.leases import acquire_lease
from app.sessions.logging_out import log_out_session
from app.sessions.revocation import revoke_session
from app.vault.opening import open_session
from app.vault.transact import transact
from tests.logins.stage import Stage
from tests.waiting import wait_until


@pytest.fixture
def dave(stage: Stage) -> dict[str, Any]:
    """An account with one session, of end user u-1."""
    account = stage.telegram.create_account(first_name="Dave")
    account["session_id"] = scan(stage, account, end_user_id="u-1", metadata={"order": "7"})
    return account


def scan(stage: Stage, account: dict[str, Any], **fields: Any) -> str:
    """Log in by QR code; the session's id."""
    started = stage.start(**fields)
    stage.telegram.scan(account["id"], stage.wait_for_qr(started.login.id))
    session_id = stage.wait_for(started.login.id, "authorized").session_id
    assert session_id is not None
    return session_id


def row(stage: Stage, session_id: str) -> TelegramSession:
    """A session's row."""
    with stage.core.transaction() as db:
        return db.get_one(TelegramSession, session_id)


def string_of(stage: Stage, session_id: str) -> str:
    """A session's string."""
    return transact(
        stage.core.transaction,
        stage.core.keyring,
        lambda db: open_session(
            db, keyring=stage.core.keyring, tenant_id="alice", session_id=session_id, actor="test", reason="a test"
        ),
    )


def log_out_aside(stage: Stage) -> list[TelegramSession]:
    """Log out what is to be logged out; the rows that were."""
    with stage.core.transaction() as db:
        db.execute(update(TelegramSession).where(TelegramSession.logout_pending).values(next_logout_at=utc_now()))
    leaving = [each for each in stage.sessions() if each.logout_pending]
    worker = stage.workers[0]
    for each in leaving:
        worker.telegram.runtime.run(log_out_session(worker.core, worker.telegram, each.id), timeout_seconds=60)
    return leaving


def test_a_relogin_keeps_the_session(stage: Stage, dave: dict[str, Any]) -> None:
    """Same id, end user and metadata; another auth key; and when the old one is logged out, one device is left."""
    before = string_of(stage, dave["session_id"])
    assert scan(stage, dave, session_id=dave["session_id"], metadata={"order": "8"}) == dave["session_id"]
    session = row(stage, dave["session_id"])
    assert (session.status, session.end_user_id, session.client_metadata) == ("active", "u-1", {"order": "7"})
    assert string_of(stage, dave["session_id"]) != before
    assert len(stage.telegram.authorizations(dave["id"])) == 2
    [aside] = log_out_aside(stage)
    assert (aside.status, aside.reason) == ("replaced", "logged_in_again")
    assert len(stage.telegram.authorizations(dave["id"])) == 1
    assert row(stage, aside.id).session_sealed is None
    assert stage.violations() == {}


def test_a_dead_session_comes_back_under_its_id(stage: Stage, dave: dict[str, Any]) -> None:
    """Ended from the phone and found dead: a scan makes it active again, with nothing left to log out."""
    stage.telegram.terminate(dave["id"])
    with stage.core.transaction() as db:
        session = db.get_one(TelegramSession, dave["session_id"])
        session.status, session.reason = "invalid", "session_revoked"
        session.session_sealed = session.proxy_sealed = session.key_id = session.auth_key_hash = None
    assert scan(stage, dave, session_id=dave["session_id"]) == dave["session_id"]
    session = row(stage, dave["session_id"])
    assert (session.status, session.reason, session.logout_pending) == ("active", None, False)
    assert [each.id for each in stage.sessions()] == [dave["session_id"]]


def test_somebody_else_cannot_log_in_again(stage: Stage, dave: dict[str, Any]) -> None:
    """failed/ownership_mismatch, the stranger is logged out, and the session stays as it was."""
    stranger = stage.telegram.create_account(first_name="Mallory")
    before = string_of(stage, dave["session_id"])
    started = stage.start(session_id=dave["session_id"])
    stage.telegram.scan(stranger["id"], stage.wait_for_qr(started.login.id))
    assert stage.wait_for(started.login.id, "failed").reason == "ownership_mismatch"
    assert string_of(stage, dave["session_id"]) == before
    wait_until(lambda: stage.telegram.authorizations(stranger["id"]) == [])


def test_the_holder_of_the_old_key_is_left_in_peace_until_it_lets_go(stage: Stage, dave: dict[str, Any]) -> None:
    """Its lease is lost, but the auth key that it uses is not used beside it. The new key is free at once."""
    held = acquire_lease(
        stage.core, tenant_id="alice", session_id=dave["session_id"], holder="bot", ttl_seconds=600, actor="test"
    )
    assert scan(stage, dave, session_id=dave["session_id"]) == dave["session_id"]
    [aside] = [each for each in stage.sessions() if each.logout_pending]
    assert (aside.lease_id, aside.lease_holder) == (held.lease_id, "bot")
    assert aside.lease_expires_at is not None
    assert (aside.lease_expires_at - utc_now()).total_seconds() < 61
    log_out_aside(stage)
    assert len(stage.telegram.authorizations(dave["id"])) == 2
    again = acquire_lease(
        stage.core, tenant_id="alice", session_id=dave["session_id"], holder="bot-2", ttl_seconds=60, actor="test"
    )
    assert again.fencing_token > held.fencing_token


def test_a_session_that_is_revoked_meanwhile_stays_revoked(stage: Stage, dave: dict[str, Any]) -> None:
    """The login ends cancelled, and who scanned for it is logged out."""
    started = stage.start(session_id=dave["session_id"])
    url = stage.wait_for_qr(started.login.id)
    revoke_session(stage.core, tenant_id="alice", session_id=dave["session_id"], actor="test", reason="requested")
    stage.telegram.scan(dave["id"], url)
    stage.wait_for(started.login.id, "cancelled")
    log_out_aside(stage)
    stage.log_out_left_keys()
    assert stage.telegram.authorizations(dave["id"]) == []
    assert row(stage, dave["session_id"]).status == "revoked"


def test_a_newer_session_of_the_account_gives_way(stage: Stage, dave: dict[str, Any]) -> None:
    """The newest login wins, also when it is a re-login of an older session: one active session per account."""
    newer = scan(stage, dave)
    assert row(stage, dave["session_id"]).status == "replaced"
    assert scan(stage, dave, session_id=dave["session_id"]) == dave["session_id"]
    assert row(stage, newer).status == "replaced"
    log_out_aside(stage)
    assert len(stage.telegram.authorizations(dave["id"])) == 1
    resume_orphaned_logins(stage.core)
