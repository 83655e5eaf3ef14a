"""Ghosts: authorizations at Telegram that no session owns.

A login's auth key is sealed in its row before anybody can scan, so a login that ends without a session logs its own key out
(``app.logins``), and a replaced or revoked session its own (``app.sessions.revocation``): that always works. Here is what that
cannot reach, keys that the database has forgotten, as it has after a restore from an older backup. They are seen from a
living session of the same account, among ``account.getAuthorizations``:

- A login of ours that still waits for its 2FA password after an hour is over, whoever began it: it is ended. Telegram refuses
  that to a session younger than 24 h (FRESH_RESET_AUTHORISATION_FORBIDDEN); then the next day does it.
- A whole authorization under our api_id and device that no stored session accounts for is only told, in the audit and the log.
  Telegram does not say which key an entry belongs to, so it may be another installation's (staging beside production) with
  the same api_id, and ending that would cut off somebody's living session.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session as DatabaseSession
from telethon.tl.functions.account import GetAuthorizationsRequest, ResetAuthorizationRequest

from app.clock import utc_now
from app.core import Core
from app.errors import AppError
from app.logs import get_logger
from app.models import TelegramSession
from app.sessions.holding import HeldSession
from app.sessions.schedule import slot_number
from app.sessions.visit import Visit
from app.telegram.process import TelegramParts
from app.vault.audit import record_event

_DAY_SECONDS = 86_400.0
_LOGIN_LIFE = timedelta(hours=1)  # no login lives longer: QR_TTL_SECONDS is at most 3600

_log = get_logger(__name__)


def is_due(row: TelegramSession) -> bool:
    """Whether the account has not been looked at since the session's last daily turn."""
    if row.status != "active" or row.last_validated_at is None:
        return False
    before = slot_number(row.id, at=row.last_validated_at, interval_seconds=_DAY_SECONDS)
    return slot_number(row.id, at=utc_now(), interval_seconds=_DAY_SECONDS) != before


async def end_ghosts(
    core: Core, telegram: TelegramParts, visit: Visit, held: HeldSession, *, now: Callable[[], datetime] = utc_now
) -> int:
    """Look at the account's authorizations, end the dead logins among them, and tell of those that nobody owns.

    Never fails a validation: what Telegram refuses today is tried again on another day.

    Returns:
        How many were ended.
    """
    ours: list[Any] = []
    ended = 0
    try:
        answer = await visit.call(GetAuthorizationsRequest())
        ours = [each for each in answer.authorizations if _is_ours(each, held, now())]
        for each in ours:
            if each.password_pending:
                await visit.call(ResetAuthorizationRequest(hash=each.hash))
                ended += 1
    except AppError as exc:
        _log.info("ghosts.put_off", session_id=held.row.id, detail=exc.detail)
    standing = sum(not each.password_pending for each in ours)
    await telegram.runtime.in_thread(_tell, core, held, ended=ended, standing=standing)
    return ended


def _is_ours(entry: Any, held: HeldSession, now: datetime) -> bool:
    return (
        not entry.current
        and entry.api_id == held.identity.api_id
        and entry.device_model == held.identity.device_model
        and entry.date_created < now - _LOGIN_LIFE
    )


def _tell(core: Core, held: HeldSession, *, ended: int, standing: int) -> None:
    with core.transaction() as db:
        unclaimed = standing - _accounted_for(db, held) if standing else 0
        for count, action in ((ended, "session.ghosts_ended"), (unclaimed, "session.unclaimed_authorizations")):
            if count > 0:
                _log.warning(action, session_id=held.row.id, authorizations=count)
                record_event(
                    db,
                    tenant_id=held.row.tenant_id,
                    actor=core.actor,
                    action=action,
                    subject=held.row.id,
                    reason="ghost sweep",
                    details={"authorizations": count},
                )


def _accounted_for(db: DatabaseSession, held: HeldSession) -> int:
    """How many other sessions of this account are stored, whoever's: they share our api_id unless a tenant has its own."""
    count = db.scalar(
        select(func.count()).where(
            TelegramSession.telegram_user_id == held.row.telegram_user_id,
            TelegramSession.session_sealed.is_not(None),
            TelegramSession.id != held.row.id,
        )
    )
    return count or 0
