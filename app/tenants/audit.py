"""The access audit, as its tenant may read it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from sqlalchemy import select

from app.clock import Timestamp
from app.database import Transaction
from app.models import AuditEvent


class AuditEventView(BaseModel):
    """One thing that was done: who, what, to what, why, when."""

    id: str
    at: Timestamp
    actor: str
    action: str
    subject: str
    reason: str | None
    details: dict[str, Any]


class AuditPage(BaseModel):
    """A page of the audit. ``next_cursor`` is None on the last one."""

    data: list[AuditEventView]
    next_cursor: str | None


def list_audit_events(transaction: Transaction, *, tenant_id: str, before_id: int | None, limit: int) -> AuditPage:
    """List a tenant's audit, newest first.

    Args:
        before_id: where the page before ended; None for the first.
    """
    query = select(AuditEvent).where(AuditEvent.tenant_id == tenant_id)
    if before_id is not None:
        query = query.where(AuditEvent.id < before_id)
    with transaction() as db:
        rows = list(db.scalars(query.order_by(AuditEvent.id.desc()).limit(limit + 1)))
    return AuditPage(
        data=[_view(row) for row in rows[:limit]], next_cursor=str(rows[limit - 1].id) if len(rows) > limit else None
    )


def _view(row: AuditEvent) -> AuditEventView:
    return AuditEventView(
        id=f"aud_{row.id}",
        at=row.at,
        actor=row.actor,
        action=row.action,
        subject=row.subject,
        reason=row.reason,
        details=row.details,
    )
