"""The access audit, as its tenant may read it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel
from sqlalchemy import Select, select

from app.clock import Timestamp
from app.database import Transaction
from app.models import AuditEvent

_EXPORTED_AT_ONCE = 1000


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


class AuditFilter(NamedTuple):
    """Which of a tenant's audit events; None: whichever."""

    action: str | None = None
    subject: str | None = None
    since: datetime | None = None


EVERYTHING = AuditFilter()


def list_audit_events(
    transaction: Transaction, *, tenant_id: str, before_id: int | None, limit: int, only: AuditFilter = EVERYTHING
) -> AuditPage:
    """List a tenant's audit, newest first.

    Args:
        before_id: where the page before ended; None for the first.
    """
    query = _query(tenant_id, only)
    if before_id is not None:
        query = query.where(AuditEvent.id < before_id)
    with transaction() as db:
        rows = list(db.scalars(query.order_by(AuditEvent.id.desc()).limit(limit + 1)))
    return AuditPage(
        data=[_view(row) for row in rows[:limit]], next_cursor=str(rows[limit - 1].id) if len(rows) > limit else None
    )


def export_audit_events(
    transaction: Transaction, *, tenant_id: str, only: AuditFilter = EVERYTHING
) -> Iterator[AuditEventView]:
    """A tenant's whole audit, newest first, a page at a time: no transaction is open while a page is read.

    Raises:
        Unavailable: the database is away; what was given out before stays good.
    """
    before_id: int | None = None
    while True:
        page = list_audit_events(
            transaction, tenant_id=tenant_id, before_id=before_id, limit=_EXPORTED_AT_ONCE, only=only
        )
        yield from page.data
        if page.next_cursor is None:
            return
        before_id = int(page.next_cursor)


def _query(tenant_id: str, only: AuditFilter) -> Select[Any]:
    query = select(AuditEvent).where(AuditEvent.tenant_id == tenant_id)
    if only.action is not None:
        query = query.where(AuditEvent.action == only.action)
    if only.subject is not None:
        query = query.where(AuditEvent.subject == only.subject)
    if only.since is not None:
        query = query.where(AuditEvent.at >= only.since)
    return query


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
