"""The outbox: an event becomes a row in the transaction that made it true, and is delivered from there."""

from __future__ import annotations

from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.orm import Session as DatabaseSession

from app.ids import new_id
from app.models import Login, WebhookEndpoint, WebhookMessage

_LOGIN_EVENTS = {
    "authorized": "login.authorized",
    "failed": "login.failed",
    "expired": "login.expired",
    "cancelled": "login.cancelled",
}


def has_listener(db: DatabaseSession, *, tenant_id: str) -> bool:
    """Whether the tenant has an endpoint to hear of events."""
    return bool(db.scalar(select(exists().where(WebhookEndpoint.tenant_id == tenant_id))))


def queue_event(db: DatabaseSession, *, tenant_id: str, event: str, payload: dict[str, Any]) -> None:
    """Add an event to the caller's transaction, if the tenant has an endpoint to hear of it."""
    if has_listener(db, tenant_id=tenant_id):
        db.add(WebhookMessage(id=new_id("msg"), tenant_id=tenant_id, event=event, payload=payload))


def queue_login_event(db: DatabaseSession, login: Login) -> None:
    """Add the event of a login that just became final. Carries what the API shows, and no secret."""
    queue_event(
        db,
        tenant_id=login.tenant_id,
        event=_LOGIN_EVENTS[login.status],
        payload={
            "login_id": login.id,
            "status": login.status,
            "reason": login.reason,
            "session_id": login.session_id,
            "telegram_user_id": login.telegram_user_id,
            "metadata": login.client_metadata,
        },
    )
