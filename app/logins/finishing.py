"""Writing down how a conversation ended, and leaving nothing behind at Telegram that no session owns."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta

from sqlalchemy import update
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.errors import AppError, FloodWait, Unavailable
from app.logins.conversation import Conversation
from app.logins.endings import NOT_MINE, LoginFailed, Outcome
from app.logins.store import DISPATCH_GRACE_SECONDS, finish, put_off, why_not
from app.models import Login
from app.sessions.claim import Claimed, claim_session
from app.telegram.connection import ANSWER_SECONDS
from app.telegram.errors import NotAuthorized
from app.telegram.flood import LONGEST_COUNTDOWN_SECONDS, LONGEST_RETRY_SECONDS
from app.vault.audit import record_event
from app.webhooks.outbox import queue_login_event

LOG_OUT_TASK = "latchkey.log_out_session"
_LOG_OUT_SECONDS = 2.0
_LOG_OUT_AGAIN_SECONDS = 30.0
_CLAIM_TRIES = 12


async def claim(talk: Conversation) -> Outcome:
    """Store the session and end the login in one transaction; ask the replaced session to be logged out.

    Disconnects before: who hears of the session may lease it at once, and two connections on its auth key would be its end.

    Raises:
        LoginFailed: ``ownership_mismatch``: another account than the expected one scanned.
        OwnershipLost, LoginOver: another worker, or the user, ended the login first; nothing was stored.
        Unavailable: PostgreSQL stayed away; the auth key is kept, and the next worker finds it authorized.
    """
    account, login = talk.account, talk.login
    assert account is not None
    if login.telegram_user_id is not None and login.telegram_user_id != account.telegram_user_id:
        raise LoginFailed("ownership_mismatch")
    assert talk.connection is not None
    dc_id = talk.connection.data_centre.dc_id
    string_session = await talk.in_thread(talk.connection.string_session)
    await clean_up(talk, log_out=False)
    failures = 0
    while True:
        try:
            claimed = await talk.row.transact(lambda db: _store(talk, db, string_session, dc_id))
            break
        except Unavailable:
            # Nothing is lost if this gives up: the auth key is sealed in the row, and the next worker finds it authorized.
            failures += 1
            if failures > _CLAIM_TRIES:
                raise
            await asyncio.sleep(min(failures, 5))
    metrics = talk.core.metrics
    metrics.auth_qr_success.labels(tenant_id=login.tenant_id).inc()
    if talk.signed_at is not None:
        metrics.scan_to_authorized_seconds.observe(talk.now() - talk.signed_at)
    await talk.row.tell()
    if claimed.replaced_id is not None:
        await talk.in_thread(talk.core.dispatch, LOG_OUT_TASK, claimed.replaced_id)
    talk.log.info("login.authorized", session_id=claimed.session_id, replaced=claimed.replaced_id)
    return Outcome("authorized")


def _store(talk: Conversation, db: DatabaseSession, string_session: str, dc_id: int) -> Claimed:
    assert talk.account is not None
    login = talk.login
    claimed = claim_session(
        db,
        talk.core.keyring,
        tenant_id=login.tenant_id,
        account=talk.account,
        string_session=string_session,
        dc_id=dc_id,
        device=talk.identity.kept(),
        metadata=login.client_metadata,
        validation_interval_seconds=talk.core.settings.validation_interval_seconds,
    )
    ended = finish(
        db,
        login_id=login.id,
        status="authorized",
        epoch=login.owner_epoch,
        session_id=claimed.session_id,
        telegram_user_id=talk.account.telegram_user_id,
        auth_key_sealed=None,
        retry_after_at=None,
    )
    if ended is None:
        raise why_not(db, login.id)
    login.version = ended.version
    queue_login_event(db, ended)
    return claimed


async def put_off_or_fail(talk: Conversation, flood: FloodWait) -> Outcome:
    """Free the thread for a short flood wait; give up on one that the login would not outlive."""
    seconds = talk.floods.countdown(flood.wait_seconds)
    if flood.wait_seconds > LONGEST_RETRY_SECONDS or seconds >= talk.remaining_seconds():
        return await fail(talk, LoginFailed("flood_wait", retry_after_seconds=flood.wait_seconds))
    seconds = min(seconds, LONGEST_COUNTDOWN_SECONDS)
    again_at = utc_now() + timedelta(seconds=seconds)
    await talk.row.advance(
        owner=None, retry_after_at=again_at, next_dispatch_at=again_at + timedelta(seconds=DISPATCH_GRACE_SECONDS)
    )
    talk.log.info("login.flood_wait", method=flood.method, seconds=round(seconds, 1))
    return Outcome("put_off", retry_seconds=seconds)


async def fail(talk: Conversation, failure: LoginFailed) -> Outcome:
    """End the login as failed, counted by its reason."""
    login, metrics = talk.login, talk.core.metrics
    metrics.auth_qr_failed.labels(tenant_id=login.tenant_id, reason=failure.reason).inc()
    if failure.reason == "ownership_mismatch":
        metrics.ownership_mismatch.labels(tenant_id=login.tenant_id).inc()
    retry_after_at = utc_now() + timedelta(seconds=failure.retry_after_seconds) if failure.retry_after_seconds else None
    return await end(talk, "failed", reason=failure.reason, retry_after_at=retry_after_at)


async def end(
    talk: Conversation, status: str, *, reason: str | None = None, retry_after_at: datetime | None = None
) -> Outcome:
    """End the login without a session. Whoever ended it first has won: then it is cancelled."""
    ended = await talk.row.transact(lambda db: _write_end(talk, db, status, reason, retry_after_at))
    if ended is None:
        return Outcome("cancelled")
    talk.login.version = ended.version
    if status == "expired":
        talk.core.metrics.auth_qr_expired.labels(tenant_id=talk.login.tenant_id).inc()
    await talk.row.tell()
    talk.log.info("login.ended", status=status, reason=reason)
    return Outcome(status)


def _write_end(
    talk: Conversation, db: DatabaseSession, status: str, reason: str | None, retry_after_at: datetime | None
) -> Login | None:
    login = talk.login
    ended = finish(
        db,
        login_id=login.id,
        status=status,
        epoch=login.owner_epoch,
        reason=reason,
        retry_after_at=retry_after_at,
        logout_pending=Login.auth_key_sealed.is_not(None),
        next_dispatch_at=utc_now() + timedelta(seconds=DISPATCH_GRACE_SECONDS),
    )
    if ended is None:
        return None
    if reason == "ownership_mismatch":
        record_event(
            db,
            tenant_id=login.tenant_id,
            actor=talk.core.actor,
            action="login.ownership_refused",
            subject=login.id,
            reason="another account than the expected one scanned",
            details={
                "expected_telegram_user_id": login.telegram_user_id,
                "telegram_user_id": talk.account.telegram_user_id if talk.account else None,
            },
        )
    queue_login_event(db, ended)
    return ended


async def clean_up(talk: Conversation, *, log_out: bool) -> None:
    """Disconnect, and leave no authorization behind where there is no session to own it. The second time does nothing."""
    if talk.connection is None:
        return
    started = talk.now()
    if log_out and talk.login.auth_key_sealed is not None:
        # What fails here is tried again by the sweep: the row says that a log-out is pending.
        with contextlib.suppress(AppError):
            await talk.log_out(timeout_seconds=_LOG_OUT_SECONDS)
            await talk.row.transact(lambda db: _logged_out(db, talk.login.id))
    await talk.disconnect()
    talk.connection = None
    talk.core.metrics.session_cleanup_duration_seconds.observe(talk.now() - started)


async def log_out_late(talk: Conversation) -> Outcome:
    """Log out the auth key of a login that ended while no worker was there to do it."""
    try:
        await talk.connect()
        await talk.log_out(timeout_seconds=ANSWER_SECONDS)
    except NotAuthorized:
        pass  # Telegram does not know the key: there is nothing to log out
    except AppError as exc:
        talk.log.info("login.log_out_put_off", detail=exc.detail)
        again_at = utc_now() + timedelta(seconds=_LOG_OUT_AGAIN_SECONDS)
        await talk.row.transact(lambda db: put_off(db, [talk.login.id], until=again_at))
        return NOT_MINE
    finally:
        await talk.disconnect()
    await talk.row.transact(lambda db: _logged_out(db, talk.login.id))
    talk.log.info("login.logged_out_late")
    return Outcome("cancelled")


def _logged_out(db: DatabaseSession, login_id: str) -> None:
    db.execute(update(Login).where(Login.id == login_id).values(logout_pending=False, auth_key_sealed=None))
