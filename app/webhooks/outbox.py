"""The outbox: an event becomes a row in the transaction that made it true, with a delivery for each endpoint that wants it."""

from __future__ import annotations

from typing import Any, Literal, get_args

from sqlalchemy import exists, select
from sqlalchemy.orm import Session as DatabaseSession

from app.ids import new_id
from app.models import Login, WebhookDelivery, WebhookEndpoint, WebhookMessage

EventType = Literal[
    "login.authorized",
    "login.failed",
    "login.expired",
    "login.cancelled",
    "session.invalid",
    "session.revoked",
    "session.replaced",
    "webhook.disabled",
]
EVENT_TYPES: tuple[str, ...] = get_args(EventType)
TEST_EVENT = "webhook.test"
STREAMED_EVENT_TYPES = tuple(each for each in EVENT_TYPES if not each.startswith("webhook."))
"""Of logins and sessions: what a stream of a tenant's events tells."""

_LOGIN_EVENTS = {
    "authorized": "login.authorized",
    "failed": "login.failed",
    "expired": "login.expired",
    "cancelled": "login.cancelled",
}


def has_listener(db: DatabaseSession, *, tenant_id: str) -> bool:
    """Whether the tenant has an endpoint to hear of events."""
    return bool(db.scalar(select(exists().where(WebhookEndpoint.tenant_id == tenant_id))))


def queue_event(
    db: DatabaseSession, *, tenant_id: str, event: str, payload: dict[str, Any], subject: str | None = None
) -> None:
    """Add an event to the caller's transaction, with a delivery for each endpoint that wants it.

    It is kept also where there is no endpoint: for streams, and for the replays of an endpoint that is made later. A disabled
    endpoint gets no delivery.

    Args:
        subject: the login or session it is of: an endpoint gets a subject's events in their order. None: in no order.
    """
    endpoints = db.scalars(
        select(WebhookEndpoint)
        .where(WebhookEndpoint.tenant_id == tenant_id)
        # An endpoint that is deleted meanwhile must not make the caller's transaction fail.
        .with_for_update(read=True, key_share=True)
    ).all()
    message = WebhookMessage(id=new_id("msg"), tenant_id=tenant_id, event=event, subject=subject, payload=payload)
    db.add(message)
    db.flush()
    for endpoint in endpoints:
        if endpoint.disabled_at is None and wants(endpoint, event):
            add_delivery(db, endpoint_id=endpoint.id, message=message)


def wants(endpoint: WebhookEndpoint, event: str) -> bool:
    """Whether an endpoint's filter lets an event pass."""
    return endpoint.events is None or event in endpoint.events


def add_delivery(db: DatabaseSession, *, endpoint_id: str, message: WebhookMessage) -> None:
    """Have a stored message delivered to an endpoint."""
    db.add(
        WebhookDelivery(
            endpoint_id=endpoint_id,
            message_id=message.id,
            tenant_id=message.tenant_id,
            seq=message.seq,
            subject=message.subject,
        )
    )


def queue_login_event(db: DatabaseSession, login: Login) -> None:
    """Add the event of a login that just became final. Carries what the API shows, and no secret."""
    queue_event(
        db,
        tenant_id=login.tenant_id,
        event=_LOGIN_EVENTS[login.status],
        subject=login.id,
        payload={
            "login_id": login.id,
            "status": login.status,
            "reason": login.reason,
            "session_id": login.session_id,
            "telegram_user_id": login.telegram_user_id,
            "end_user_id": login.end_user_id,
            "metadata": login.client_metadata,
        },
    )
