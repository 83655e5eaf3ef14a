"""What a tenant hears of its sessions: the outbox's rows, each in the transaction that made it true."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy.orm import Session as DatabaseSession

from app.models import TelegramSession
from app.webhooks.outbox import queue_event

SessionEvent = Literal["session.invalid", "session.revoked", "session.replaced"]


def queue_session_event(db: DatabaseSession, event: SessionEvent, row: TelegramSession, **members: Any) -> None:
    """Add the event of a session as it stands now. Carries what the API shows, and no secret.

    Args:
        members: what this event says beside what all say.
    """
    payload = {
        "session_id": row.id,
        "telegram_user_id": row.telegram_user_id,
        "end_user_id": row.end_user_id,
        "reason": row.reason,
        "metadata": row.client_metadata,
    }
    queue_event(db, tenant_id=row.tenant_id, event=event, subject=row.id, payload=payload | members)
