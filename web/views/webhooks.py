"""Webhooks: endpoints, their deliveries, test calls and replays."""

from __future__ import annotations

from typing import Annotated

from apiflask import APIBlueprint
from pydantic import BaseModel, Field

from app.storable import Storable
from app.webhooks.endpoints import (
    NewWebhookView,
    WebhookView,
    change_endpoint,
    create_endpoint,
    delete_endpoint,
    list_endpoints,
    read_endpoint,
    rotate_secret,
)
from app.webhooks.outbox import EVENT_TYPES, EventType
from app.webhooks.replays import (
    DeliveryPage,
    QueuedEventView,
    ReplayView,
    list_deliveries,
    replay_event,
    replay_since,
    send_test,
)
from web.auth import current_caller, needs
from web.openapi import answers_problems
from web.parsing import Body, Moment, Query
from web.parts import parts

webhooks = APIBlueprint("webhooks", __name__, url_prefix="/v1/webhooks", tag="Webhooks")

Url = Annotated[Storable, Field(min_length=1, max_length=2000, description="https://…; no user, no fragment.")]
Events = Annotated[
    list[EventType] | None,
    Field(min_length=1, max_length=len(EVENT_TYPES), description="Which events; null or left out: all."),
]


class NewWebhookBody(Body):
    """A webhook endpoint to be."""

    url: Url
    events: Events = None


class ChangeWebhookBody(Body):
    """What is to change; what is left out stays."""

    url: Url | None = None
    events: Events = None
    enabled: bool = Field(default=True, description="true also takes back a disabling; what is pending goes on.")


class ReplayBody(Body):
    """From when on."""

    since: Moment = Field(description="Events since then are sent again, each under its own id.")


class DeliveriesQuery(Query):
    """Which page of the deliveries."""

    cursor: int | None = Field(default=None, ge=1, lt=2**63, description="next_cursor of the page before.")
    limit: int = Field(default=50, ge=1, le=200, description="How many at most.")


class WebhookList(BaseModel):
    """Every webhook endpoint of this tenant."""

    data: list[WebhookView]


@webhooks.get("")
@needs("webhooks")
@webhooks.output(WebhookList)
def list_webhooks() -> WebhookList:
    """List webhooks"""
    return WebhookList(data=list_endpoints(parts().core, tenant_id=current_caller().tenant_id))


@webhooks.post("")
@answers_problems("too_many_webhooks")
@needs("webhooks")
@webhooks.input(NewWebhookBody, arg_name="body")
@webhooks.output(NewWebhookView, status_code=201, description="`secret` is shown this once.")
def post_webhook(body: NewWebhookBody) -> NewWebhookView:
    """Add a webhook"""
    caller = current_caller()
    events = None if body.events is None else list(dict.fromkeys(body.events))
    return create_endpoint(
        parts().core, tenant_id=caller.tenant_id, actor=caller.actor, url=body.url, events=[*events] if events else None
    )


@webhooks.get("/<id:webhook_id>")
@needs("webhooks")
@webhooks.output(WebhookView)
def get_webhook(webhook_id: str) -> WebhookView:
    """Read a webhook"""
    return read_endpoint(parts().core, tenant_id=current_caller().tenant_id, endpoint_id=webhook_id)


@webhooks.patch("/<id:webhook_id>")
@needs("webhooks")
@webhooks.input(ChangeWebhookBody, arg_name="body")
@webhooks.output(WebhookView)
def patch_webhook(webhook_id: str, body: ChangeWebhookBody) -> WebhookView:
    """Change a webhook"""
    caller = current_caller()
    return change_endpoint(
        parts().core,
        tenant_id=caller.tenant_id,
        actor=caller.actor,
        endpoint_id=webhook_id,
        # A null url changes nothing; null events are all of them.
        changes=body.model_dump(exclude_unset=True, exclude={"url"} if body.url is None else set()),
    )


@webhooks.delete("/<id:webhook_id>")
@needs("webhooks")
@webhooks.output(WebhookView)
def delete_webhook(webhook_id: str) -> WebhookView:
    """Delete a webhook and its deliveries"""
    caller = current_caller()
    return delete_endpoint(parts().core, tenant_id=caller.tenant_id, actor=caller.actor, endpoint_id=webhook_id)


@webhooks.post("/<id:webhook_id>/rotate-secret")
@needs("webhooks")
@webhooks.output(NewWebhookView, description="`secret` is shown this once; the old one signs beside it for 24 h.")
def post_rotate_secret(webhook_id: str) -> NewWebhookView:
    """Rotate a webhook's secret"""
    caller = current_caller()
    return rotate_secret(parts().core, tenant_id=caller.tenant_id, actor=caller.actor, endpoint_id=webhook_id)


@webhooks.post("/<id:webhook_id>/test")
@needs("webhooks")
@webhooks.output(QueuedEventView, status_code=202)
def post_test(webhook_id: str) -> QueuedEventView:
    """Send a webhook.test event"""
    return send_test(parts().core, tenant_id=current_caller().tenant_id, endpoint_id=webhook_id)


@webhooks.post("/<id:webhook_id>/replay")
@needs("webhooks")
@webhooks.input(ReplayBody, arg_name="body")
@webhooks.output(ReplayView, status_code=202)
def post_replay(webhook_id: str, body: ReplayBody) -> ReplayView:
    """Send events again, since a time"""
    tenant_id = current_caller().tenant_id
    return replay_since(parts().core, tenant_id=tenant_id, endpoint_id=webhook_id, since=body.since)


@webhooks.get("/<id:webhook_id>/deliveries")
@needs("webhooks")
@webhooks.input(DeliveriesQuery, location="query", arg_name="query")
@webhooks.output(DeliveryPage)
def get_deliveries(webhook_id: str, query: DeliveriesQuery) -> DeliveryPage:
    """List a webhook's deliveries, newest event first"""
    return list_deliveries(
        parts().core,
        tenant_id=current_caller().tenant_id,
        endpoint_id=webhook_id,
        before_seq=query.cursor,
        limit=query.limit,
    )


@webhooks.post("/<id:webhook_id>/deliveries/<id:event_id>/replay")
@needs("webhooks")
@webhooks.output(ReplayView, status_code=202)
def post_replay_event(webhook_id: str, event_id: str) -> ReplayView:
    """Send one event again"""
    tenant_id = current_caller().tenant_id
    return replay_event(parts().core, tenant_id=tenant_id, endpoint_id=webhook_id, event_id=event_id)
