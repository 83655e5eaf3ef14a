"""Where a login ends without a session, or goes on later: written down, counted, and nothing left behind at Telegram."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta

from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.errors import AppError, FloodWait
from app.logins.endings import LoginFailed, RunOutcome
from app.logins.leaving_keys import claim_first_try, final_ask_at, settle
from app.logins.link import Link
from app.logins.owned import OwnedLogin
from app.logins.store import DISPATCH_GRACE_SECONDS
from app.models import Login
from app.sessions.claim import Account
from app.telegram.flood import LONGEST_COUNTDOWN_SECONDS, LONGEST_RETRY_SECONDS
from app.vault.audit import record_event


async def put_off(owned: OwnedLogin, flood: FloodWait) -> RunOutcome:
    """Free the thread for a flood wait that the login outlives: the task comes again after it.

    Raises:
        LoginFailed: ``flood_wait``: it is too long, or the login would not outlive it.
        OwnershipLost, LoginOver, Unavailable: as ``OwnedLogin.advance``.
    """
    seconds = owned.telegram.floods.countdown(flood.wait_seconds)
    if flood.wait_seconds > LONGEST_RETRY_SECONDS or seconds >= owned.remaining_seconds():
        raise LoginFailed("flood_wait", retry_after_seconds=flood.wait_seconds) from flood
    seconds = min(seconds, LONGEST_COUNTDOWN_SECONDS)
    again_at = utc_now() + timedelta(seconds=seconds)
    await owned.advance(
        owner=None, retry_after_at=again_at, next_dispatch_at=again_at + timedelta(seconds=DISPATCH_GRACE_SECONDS)
    )
    owned.log.info("login.flood_wait", method=flood.method, seconds=round(seconds, 1))
    return RunOutcome("put_off", retry_seconds=seconds)


async def expire(owned: OwnedLogin) -> RunOutcome:
    """End a login whose life is over. One that never had a QR code to show has failed.

    Raises:
        OwnershipLost, LoginOver, Unavailable: as ``OwnedLogin.end``.
    """
    if owned.login.published_at is None and owned.login.method == "qr":
        return await fail(owned, LoginFailed("telegram_unavailable"))
    await owned.end("expired")
    owned.core.metrics.auth_qr_expired.labels(tenant_id=owned.login.tenant_id).inc()
    owned.log.info("login.ended", status="expired")
    return RunOutcome("expired")


async def fail(owned: OwnedLogin, failure: LoginFailed, *, account: Account | None = None) -> RunOutcome:
    """End a login that cannot succeed any more, with its reason.

    Args:
        account: who logged in, if that is known.

    Raises:
        OwnershipLost, LoginOver, Unavailable: as ``OwnedLogin.end``.
    """
    is_mismatch = failure.reason == "ownership_mismatch"

    def audit(db: DatabaseSession, ended: Login) -> None:
        if is_mismatch:
            _audit_mismatch(db, ended, actor=owned.core.actor, account=account)

    await owned.end("failed", also=audit, reason=failure.reason, retry_after_at=_retry_after(failure))
    metrics, tenant_id = owned.core.metrics, owned.login.tenant_id
    metrics.auth_qr_failed.labels(tenant_id=tenant_id, reason=failure.reason).inc()
    if is_mismatch:
        metrics.ownership_mismatch.labels(tenant_id=tenant_id).inc()
    owned.log.info("login.ended", status="failed", reason=failure.reason)
    return RunOutcome("failed")


async def withdraw(owned: OwnedLogin) -> RunOutcome:
    """End a login whose session was revoked meanwhile, as its tenant would have cancelled it.

    Raises:
        OwnershipLost, LoginOver, Unavailable: as ``OwnedLogin.end``.
    """
    await owned.end("cancelled")
    owned.log.info("login.ended", status="cancelled", why="its session was revoked")
    return RunOutcome("failed")


async def log_out(owned: OwnedLogin, link: Link, *, last_token_expires_at: datetime | None) -> None:
    """Log out the auth key of a login that ended without a session, on the connection that is open still.

    The key has left its login by then, so that it can be nobody's session. Whatever goes wrong here, the sweep of leaving keys
    does it again.

    Args:
        last_token_expires_at: when the newest login token dies that Telegram gave us.
    """
    leaving_id, asked_at = owned.login.id, utc_now()
    with contextlib.suppress(AppError):
        if not link.connected or not await owned.transact(lambda db: claim_first_try(db, leaving_id)):
            return
        await link.log_out()
        later = final_ask_at(last_token_expires_at) if last_token_expires_at and not link.accepted else None
        await owned.transact(lambda db: settle(db, leaving_id, asked_at=asked_at, final_ask_at=later))


def _retry_after(failure: LoginFailed) -> datetime | None:
    if not failure.retry_after_seconds:
        return None
    return utc_now() + timedelta(seconds=failure.retry_after_seconds)


def _audit_mismatch(db: DatabaseSession, login: Login, *, actor: str, account: Account | None) -> None:
    record_event(
        db,
        tenant_id=login.tenant_id,
        actor=actor,
        action="login.ownership_refused",
        subject=login.id,
        reason="another account than the expected one scanned",
        details={
            "expected_telegram_user_id": login.telegram_user_id,
            "telegram_user_id": account.telegram_user_id if account else None,
        },
    )
