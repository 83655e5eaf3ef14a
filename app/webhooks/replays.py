"""What an endpoint has been sent, test calls, and sending again."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel
from sqlalchemy import Select, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import Timestamp, utc_now
from app.core import Core
from app.errors import NotFound
from app.ids import new_id
from app.models import WebhookDelivery, WebhookMessage
from app.webhooks.delivery import DELIVER_TASK
from app.webhooks.endpoints import find_endpoint
from app.webhooks.outbox import TEST_EVENT, add_delivery


class DeliveryView(BaseModel):
    """An event on its way to an endpoint: ``pending``, ``delivered`` or ``failed``, with what the last try came to."""

    event_id: str
    type: str
    state: str
    tries: int
    outcome: str | None
    status_code: int | None
    created_at: Timestamp
    last_try_at: Timestamp | None
    next_try_at: Timestamp | None


class DeliveryPage(BaseModel):
    """A page of deliveries, newest event first. ``next_cursor`` is None on the last one."""

    data: list[DeliveryView]
    next_cursor: str | None


class ReplayView(BaseModel):
    """How many events are sent again."""

    events: int


class QueuedEventView(BaseModel):
    """An event that is sent now; look for its id in the deliveries."""

    event_id: str


def list_deliveries(
    core: Core, *, tenant_id: str, endpoint_id: str, before_seq: int | None, limit: int
) -> DeliveryPage:
    """List an endpoint's deliveries, the newest event first.

    Raises:
        NotFound: there is no such endpoint, or it is another tenant's.
    """
    query = (
        select(WebhookDelivery, WebhookMessage)
        .join(WebhookMessage, WebhookMessage.id == WebhookDelivery.message_id)
        .where(WebhookDelivery.endpoint_id == endpoint_id)
    )
    if before_seq is not None:
        query = query.where(WebhookDelivery.seq < before_seq)
    with core.transaction() as db:
        find_endpoint(db, tenant_id=tenant_id, endpoint_id=endpoint_id)
        rows = db.execute(query.order_by(WebhookDelivery.seq.desc()).limit(limit + 1)).all()
    next_cursor = str(rows[limit - 1][0].seq) if len(rows) > limit else None
    return DeliveryPage(data=[_view(*row) for row in rows[:limit]], next_cursor=next_cursor)


def send_test(core: Core, *, tenant_id: str, endpoint_id: str) -> QueuedEventView:
    """Send an endpoint an event ``webhook.test``, whatever its filter.

    Raises:
        NotFound: there is no such endpoint, or it is another tenant's.
    """
    with core.transaction() as db:
        find_endpoint(db, tenant_id=tenant_id, endpoint_id=endpoint_id)
        payload = {"webhook_id": endpoint_id}
        message = WebhookMessage(id=new_id("msg"), tenant_id=tenant_id, event=TEST_EVENT, payload=payload)
        db.add(message)
        db.flush()
        add_delivery(db, endpoint_id=endpoint_id, message=message)
    core.dispatch(DELIVER_TASK, endpoint_id)
    return QueuedEventView(event_id=message.id)


def replay_since(core: Core, *, tenant_id: str, endpoint_id: str, since: datetime) -> ReplayView:
    """Send again every event since a time that the endpoint's filter lets pass, delivered or not, each with its own id.

    Raises:
        NotFound: there is no such endpoint, or it is another tenant's.
    """
    with core.transaction() as db:
        endpoint = find_endpoint(db, tenant_id=tenant_id, endpoint_id=endpoint_id)
        chosen = _messages(tenant_id, endpoint_id).where(
            WebhookMessage.created_at >= since, WebhookMessage.event != TEST_EVENT
        )
        if endpoint.events is not None:
            chosen = chosen.where(WebhookMessage.event.in_(endpoint.events))
        events = _send_again(db, chosen)
    core.dispatch(DELIVER_TASK, endpoint_id)
    return ReplayView(events=events)


def replay_event(core: Core, *, tenant_id: str, endpoint_id: str, event_id: str) -> ReplayView:
    """Send one event again, whatever became of it before.

    Raises:
        NotFound: there is no such endpoint or event, or it is another tenant's.
    """
    with core.transaction() as db:
        find_endpoint(db, tenant_id=tenant_id, endpoint_id=endpoint_id)
        events = _send_again(db, _messages(tenant_id, endpoint_id).where(WebhookMessage.id == event_id))
        if not events:
            raise NotFound("There is no such event, or it is kept no more.")
    core.dispatch(DELIVER_TASK, endpoint_id)
    return ReplayView(events=events)


def _messages(tenant_id: str, endpoint_id: str) -> Select[str, str, str, int, str | None]:
    return select(
        literal(endpoint_id), WebhookMessage.id, WebhookMessage.tenant_id, WebhookMessage.seq, WebhookMessage.subject
    ).where(WebhookMessage.tenant_id == tenant_id)


def _send_again(db: DatabaseSession, chosen: Select[str, str, str, int, str | None]) -> int:
    anew = {"state": "pending", "tries": 0, "next_try_at": utc_now(), "claimed_until": None}
    inserted = insert(WebhookDelivery).from_select(["endpoint_id", "message_id", "tenant_id", "seq", "subject"], chosen)
    done = db.execute(inserted.on_conflict_do_update(index_elements=["endpoint_id", "message_id"], set_=anew))
    return int(done.rowcount)  # type: ignore[attr-defined]  # an INSERT's result has it


def _view(delivery: WebhookDelivery, message: WebhookMessage) -> DeliveryView:
    return DeliveryView(
        event_id=message.id,
        type=message.event,
        state=delivery.state,
        tries=delivery.tries,
        outcome=delivery.outcome,
        status_code=delivery.status_code,
        created_at=message.created_at,
        last_try_at=delivery.last_try_at,
        next_try_at=delivery.next_try_at,
    )
