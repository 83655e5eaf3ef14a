"""Sessions as callers see them: the contract's Session, read only. Never the session string."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel
from sqlalchemy import select

from app.clock import Timestamp, utc_now
from app.database import Transaction
from app.errors import NotFound
from app.models import TelegramSession

SessionStatus = Literal["active", "quarantined", "invalid", "revoking", "revoked", "replaced"]


class LeaseHolderView(BaseModel):
    """Who holds a session now, and until when."""

    holder: str
    expires_at: Timestamp


class SessionView(BaseModel):
    """The contract's Session."""

    id: str
    status: SessionStatus
    reason: str | None
    telegram_user_id: int | None
    end_user_id: str | None
    username: str | None
    first_name: str | None
    phone_masked: str | None
    dc_id: int
    key_id: str | None
    created_at: Timestamp
    last_validated_at: Timestamp | None
    next_validation_at: Timestamp | None
    backed_up_at: Timestamp | None
    lease: LeaseHolderView | None
    metadata: dict[str, Any]


class SessionPage(BaseModel):
    """A page of sessions. ``next_cursor`` is None on the last one."""

    data: list[SessionView]
    next_cursor: str | None


def list_sessions(
    transaction: Transaction,
    *,
    tenant_id: str,
    status: SessionStatus | None = None,
    telegram_user_id: int | None = None,
    end_user_id: str | None = None,
    after_id: str | None = None,
    limit: int = 50,
) -> SessionPage:
    """List a tenant's sessions by id.

    Args:
        after_id: where the page before ended; None for the first.
    """
    query = select(TelegramSession).where(TelegramSession.tenant_id == tenant_id)
    if status is not None:
        query = query.where(TelegramSession.status == status)
    if telegram_user_id is not None:
        query = query.where(TelegramSession.telegram_user_id == telegram_user_id)
    if end_user_id is not None:
        query = query.where(TelegramSession.end_user_id == end_user_id)
    if after_id is not None:
        query = query.where(TelegramSession.id > after_id)
    with transaction() as db:
        rows = list(db.scalars(query.order_by(TelegramSession.id).limit(limit + 1)))
    shown = [view_session(row) for row in rows[:limit]]
    return SessionPage(data=shown, next_cursor=shown[-1].id if len(rows) > limit else None)


def read_session(transaction: Transaction, *, tenant_id: str, session_id: str) -> SessionView:
    """Show a session.

    Raises:
        NotFound: there is none, or it is another tenant's.
    """
    with transaction() as db:
        row = db.get(TelegramSession, session_id)
    if row is None or row.tenant_id != tenant_id:
        raise NotFound("There is no such session.")
    return view_session(row)


def view_session(row: TelegramSession) -> SessionView:
    """Show a row. A lease that ran out is nobody's."""
    held = row.lease_holder is not None and row.lease_expires_at is not None and row.lease_expires_at > utc_now()
    fields = {name: getattr(row, name) for name in SessionView.model_fields if name not in {"lease", "metadata"}}
    lease = {"holder": row.lease_holder, "expires_at": row.lease_expires_at} if held else None
    return SessionView.model_validate(fields | {"lease": lease, "metadata": row.client_metadata})
