"""Revoking: the committed wish that a session ends, and the sweep that does not forget it.

``revoking`` (or ``replaced``) with ``logout_pending`` is the wish; ``app.sessions.logging_out`` fulfils it, again and again
with growing pauses, until Telegram says that the key is no longer authorized.

Revoking wins over a lease, but does not use the key beside its holder: the lease is not renewed any more (409
``lease_lost``), it ends ``REVOKE_GRACE_SECONDS`` from now at the latest, whatever was granted, and the log-out goes out when
it has ended or was released.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from sqlalchemy import ColumnExpressionArgument, Select, select, update
from sqlalchemy.orm import Session as DatabaseSession

from app.core import Core
from app.models import AuditEvent, TelegramSession
from app.sessions.store import database_now, find_session, shortened_lease, transaction_now
from app.turns import in_turn
from app.vault.audit import record_event

LOG_OUT_TASK = "latchkey.log_out_session"
REVOCABLE = ("active", "quarantined", "invalid", "replaced")
MESSAGE_SECONDS = 60.0
"""How long a message may be on its way before the sweep sends another."""

_SWEEP = 100
MESSAGES_AT_ONCE = 500
_TURNED_AWAY_SECONDS = (2.0, 8.0)


def revoke_session(core: Core, *, tenant_id: str, session_id: str, actor: str, reason: str) -> TelegramSession:
    """Mark a session as revoking and have it logged out. One that is revoking or revoked already stays as it is.

    Args:
        actor: who asks, for the audit.
        reason: why, as the session shows it: ``requested``.

    Raises:
        NotFound: there is no such session, or it is another tenant's.
    """
    whose = (TelegramSession.id == session_id, TelegramSession.tenant_id == tenant_id)
    with core.transaction() as db:
        marked = mark_revoking(db, *whose, actor=actor, reason=reason)
        row = marked[0] if marked else find_session(db, tenant_id=tenant_id, session_id=session_id)
    if marked:
        core.dispatch(LOG_OUT_TASK, session_id)
    return row


def revoke_opened(
    core: Core,
    *,
    tenant_id: str,
    actor: str,
    holder: str | None = None,
    api_key_id: str | None = None,
    opened_since: datetime | None = None,
) -> int:
    """Revoke every session that somebody has opened, after a leak; without any of the three, every session of the tenant's.

    Args:
        holder: who leased them, by the name that was said then.
        api_key_id: the key that they were leased with.
        opened_since: not those that were opened only before that.

    Returns:
        How many are being revoked by this call. Those that are already are not counted.
    """
    conditions: list[ColumnExpressionArgument[bool]] = [TelegramSession.tenant_id == tenant_id]
    asked: dict[str, object] = {
        "holder": holder,
        "api_key_id": api_key_id,
        "opened_since": opened_since and opened_since.isoformat(),
    }
    said = {name: value for name, value in asked.items() if value is not None}
    if said:
        conditions.append(TelegramSession.id.in_(_opened(tenant_id, holder, api_key_id, opened_since)))
    with core.transaction() as db:
        marked = mark_revoking(db, *conditions, actor=actor, reason="requested")
        details = {"asked": said or {"all": True}, "sessions": len(marked)}
        record_event(
            db, tenant_id=tenant_id, actor=actor, action="sessions.revoked", subject=tenant_id, details=details
        )
    for row in marked[:MESSAGES_AT_ONCE]:  # the sweep sends the others
        core.dispatch(LOG_OUT_TASK, row.id)
    return len(marked)


def _opened(tenant_id: str, holder: str | None, api_key_id: str | None, opened_since: datetime | None) -> Select[str]:
    """Ids of the sessions whose openings meet the conditions: each has its audit row."""
    openings = select(AuditEvent.subject).where(
        AuditEvent.tenant_id == tenant_id, AuditEvent.action == "session.opened", AuditEvent.actor.like("api-key:%")
    )
    if holder is not None:
        openings = openings.where(AuditEvent.details["holder"].astext == holder)
    if api_key_id is not None:
        openings = openings.where(AuditEvent.actor == f"api-key:{api_key_id}")
    if opened_since is not None:
        openings = openings.where(AuditEvent.at >= opened_since)
    return openings


def mark_revoking(
    db: DatabaseSession, *conditions: ColumnExpressionArgument[bool], actor: str, reason: str
) -> list[TelegramSession]:
    """Mark the sessions that meet the conditions as revoking, each with an audit row; the caller sends ``LOG_OUT_TASK``."""
    marked = db.scalars(
        update(TelegramSession)
        .where(TelegramSession.status.in_(REVOCABLE), *conditions)
        .values(
            status="revoking",
            reason=reason,
            version=TelegramSession.version + 1,
            updated_at=database_now(),
            next_validation_at=None,
            logout_pending=True,
            logout_tries=0,
            next_logout_at=database_now() + timedelta(seconds=MESSAGE_SECONDS),
            lease_expires_at=shortened_lease(),
        )
        .returning(TelegramSession)
        .execution_options(synchronize_session=False, populate_existing=True)
    ).all()
    for row in marked:
        record_event(db, tenant_id=row.tenant_id, actor=actor, action="session.revoking", subject=row.id, reason=reason)
    return list(marked)


def sweep_log_outs(core: Core) -> int:
    """Send log-outs that are due, the tenants in turn, ``_SWEEP`` at most. Any number of sweeps may run at once.

    Returns:
        How many were sent.
    """
    due = in_turn(
        TelegramSession,
        TelegramSession.next_logout_at,
        TelegramSession.logout_pending,
        TelegramSession.next_logout_at <= transaction_now(),
        limit=_SWEEP,
        each=_SWEEP,
    )
    with core.transaction() as db:
        session_ids = db.scalars(due).all()
        if session_ids:
            db.execute(
                update(TelegramSession)
                .where(TelegramSession.id.in_(session_ids))
                .values(next_logout_at=database_now() + timedelta(seconds=MESSAGE_SECONDS))
                .execution_options(synchronize_session=False)
            )
    for session_id in session_ids:
        core.dispatch(LOG_OUT_TASK, session_id)
    return len(session_ids)


def leave_to_sweep(core: Core, session_id: str) -> None:
    """Give a log-out back, because no one here has the time; it is due again within seconds."""
    seconds = random.uniform(*_TURNED_AWAY_SECONDS)  # noqa: S311  # spreads load only
    with core.transaction() as db:
        db.execute(
            update(TelegramSession)
            .where(TelegramSession.id == session_id, TelegramSession.logout_pending)
            .values(next_logout_at=database_now() + timedelta(seconds=seconds))
        )
