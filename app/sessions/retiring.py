"""Retiring: sessions that nobody has used for long are revoked, by the tenant's policy or the installation's.

Used means logged in or leased; being validated is not use.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session as DatabaseSession

from app.core import Core
from app.logs import get_logger
from app.models import TelegramSession, Tenant
from app.sessions.revocation import LOG_OUT_TASK, mark_revoking
from app.sessions.store import lease_is_free, transaction_now

_BATCH = 200

_log = get_logger(__name__)


def retire_idle_sessions(core: Core) -> int:
    """Revoke idle sessions, with the reason ``idle``; a batch per tenant at a time, the next run goes on.

    A tenant's ``session_max_idle_days`` comes before SESSION_MAX_IDLE_DAYS; 0 is never.

    Returns:
        How many were retired.
    """
    retired: list[str] = []
    with core.transaction() as db:
        policies = _policies(db, default_days=core.settings.session_max_idle_days)
    for tenant_id, days in policies:
        with core.transaction() as db:
            retired += _retire(db, actor=core.actor, tenant_id=tenant_id, days=days)
    for session_id in retired:
        core.dispatch(LOG_OUT_TASK, session_id)
    if retired:
        _log.info("sessions.retired", sessions=len(retired))
    return len(retired)


def _policies(db: DatabaseSession, *, default_days: int) -> list[tuple[str, int]]:
    days = func.coalesce(Tenant.session_max_idle_days, default_days)
    return [(tenant_id, int(limit)) for tenant_id, limit in db.execute(select(Tenant.id, days).where(days > 0))]


def idle_sessions(*, tenant_id: str, days: int) -> Select[str]:
    """A batch of a tenant's ids that nobody has used for that long, and nobody uses now."""
    return (
        select(TelegramSession.id)
        .where(
            TelegramSession.tenant_id == tenant_id,
            TelegramSession.status == "active",
            TelegramSession.last_used_at < transaction_now() - timedelta(days=days),
            lease_is_free(),
        )
        .order_by(TelegramSession.last_used_at)
        .limit(_BATCH)
        .with_for_update(skip_locked=True)
    )


def _retire(db: DatabaseSession, *, actor: str, tenant_id: str, days: int) -> list[str]:
    idle = idle_sessions(tenant_id=tenant_id, days=days)
    marked = mark_revoking(db, TelegramSession.id.in_(idle), actor=actor, reason="idle")
    return [row.id for row in marked]
