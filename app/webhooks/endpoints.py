"""A tenant's webhook endpoints: make, read, change, delete, rotate the secret."""

from __future__ import annotations

import base64
import secrets
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import Timestamp, utc_now
from app.core import Core
from app.errors import Conflict, NotFound
from app.ids import new_id
from app.models import WebhookEndpoint
from app.vault.audit import record_event
from app.vault.places import webhook_old_secret_place, webhook_secret_place
from app.vault.sealing import Sealed
from app.vault.transact import transact
from app.webhooks.targets import check_url

MAX_ENDPOINTS = 20
OVERLAP = timedelta(hours=24)


class WebhookView(BaseModel):
    """A webhook endpoint. ``events`` null: all of them."""

    id: str
    url: str
    events: list[str] | None
    enabled: bool
    disabled_at: Timestamp | None
    disabled_reason: str | None
    failing_since: Timestamp | None
    old_secret_until: Timestamp | None = Field(description="Until then the secret from before a rotation signs, too.")
    created_at: Timestamp


class NewWebhookView(WebhookView):
    """A webhook endpoint with its signing secret, shown this once."""

    secret: str = Field(repr=False)


def create_endpoint(core: Core, *, tenant_id: str, actor: str, url: str, events: list[str] | None) -> NewWebhookView:
    """Make an endpoint. Its secret is in the answer and never seen again.

    Raises:
        InvalidInput: webhooks may not go to that URL.
        Conflict: ``too_many_webhooks``.
    """
    check_url(url, allow_private=core.settings.webhook_allow_private)
    endpoint_id, secret = new_id("whe"), _new_secret()

    def work(db: DatabaseSession) -> WebhookEndpoint:
        made = select(func.count()).where(WebhookEndpoint.tenant_id == tenant_id)
        if (db.scalar(made) or 0) >= MAX_ENDPOINTS:
            raise Conflict(f"A tenant has at most {MAX_ENDPOINTS} webhooks.", code="too_many_webhooks")
        sealed = core.keyring.seal(webhook_secret_place(tenant_id, endpoint_id), secret.encode())
        row = WebhookEndpoint(
            id=endpoint_id,
            tenant_id=tenant_id,
            url=url,
            events=events,
            key_id=sealed.key_id,
            secret_sealed=sealed.ciphertext,
            created_at=utc_now(),
        )
        db.add(row)
        record_event(db, tenant_id=tenant_id, actor=actor, action="webhook.created", subject=endpoint_id)
        return row

    row = transact(core.transaction, core.keyring, work)
    return NewWebhookView(**_members(row), secret=secret)


def list_endpoints(core: Core, *, tenant_id: str) -> list[WebhookView]:
    """List a tenant's endpoints, oldest first."""
    query = select(WebhookEndpoint).where(WebhookEndpoint.tenant_id == tenant_id)
    with core.transaction() as db:
        return [_view(row) for row in db.scalars(query.order_by(WebhookEndpoint.created_at, WebhookEndpoint.id))]


def read_endpoint(core: Core, *, tenant_id: str, endpoint_id: str) -> WebhookView:
    """Show an endpoint.

    Raises:
        NotFound: there is none, or it is another tenant's.
    """
    with core.transaction() as db:
        return _view(find_endpoint(db, tenant_id=tenant_id, endpoint_id=endpoint_id))


def change_endpoint(
    core: Core, *, tenant_id: str, actor: str, endpoint_id: str, changes: dict[str, Any]
) -> WebhookView:
    """Change ``url``, ``events`` or ``enabled``; what is not named stays. Enabling goes on with what is pending.

    Raises:
        NotFound, InvalidInput: as above.
    """
    if "url" in changes:
        check_url(changes["url"], allow_private=core.settings.webhook_allow_private)
    with core.transaction() as db:
        row = find_endpoint(db, tenant_id=tenant_id, endpoint_id=endpoint_id, lock=True)
        for name in {"url", "events"} & changes.keys():
            setattr(row, name, changes[name])
        if changes.get("enabled") is True:
            row.disabled_at = row.disabled_reason = row.failing_since = None
        elif changes.get("enabled") is False and row.disabled_at is None:
            row.disabled_at, row.disabled_reason = utc_now(), "requested"
        details = {"changed": sorted(changes)}
        record_event(
            db, tenant_id=tenant_id, actor=actor, action="webhook.changed", subject=endpoint_id, details=details
        )
    return _view(row)


def delete_endpoint(core: Core, *, tenant_id: str, actor: str, endpoint_id: str) -> WebhookView:
    """Delete an endpoint and its deliveries.

    Raises:
        NotFound: there is none, or it is another tenant's.
    """
    with core.transaction() as db:
        row = find_endpoint(db, tenant_id=tenant_id, endpoint_id=endpoint_id)
        db.delete(row)
        record_event(db, tenant_id=tenant_id, actor=actor, action="webhook.deleted", subject=endpoint_id)
    return _view(row)


def rotate_secret(core: Core, *, tenant_id: str, actor: str, endpoint_id: str) -> NewWebhookView:
    """Give an endpoint a new secret; the old one signs beside it for ``OVERLAP``, one from before that no more.

    Raises:
        NotFound: there is none, or it is another tenant's.
    """
    secret = _new_secret()

    def work(db: DatabaseSession) -> WebhookEndpoint:
        row = find_endpoint(db, tenant_id=tenant_id, endpoint_id=endpoint_id, lock=True)
        place = webhook_secret_place(tenant_id, endpoint_id)
        old = core.keyring.open(place, Sealed(row.key_id, row.secret_sealed))
        sealed = core.keyring.seal(place, secret.encode())
        row.old_secret_sealed = core.keyring.seal_under_key(
            sealed.key_id, webhook_old_secret_place(tenant_id, endpoint_id), old
        )
        row.old_secret_until = utc_now() + OVERLAP
        row.key_id, row.secret_sealed = sealed
        record_event(db, tenant_id=tenant_id, actor=actor, action="webhook.secret_rotated", subject=endpoint_id)
        return row

    row = transact(core.transaction, core.keyring, work)
    return NewWebhookView(**_members(row), secret=secret)


def find_endpoint(db: DatabaseSession, *, tenant_id: str, endpoint_id: str, lock: bool = False) -> WebhookEndpoint:
    """Find a tenant's endpoint.

    Raises:
        NotFound: there is none, or it is another tenant's.
    """
    query = select(WebhookEndpoint).where(WebhookEndpoint.tenant_id == tenant_id, WebhookEndpoint.id == endpoint_id)
    row = db.scalar(query.with_for_update(key_share=True) if lock else query)
    if row is None:
        raise NotFound("There is no such webhook.")
    return row


def _new_secret() -> str:
    # Standard Webhooks: base64 of 24 to 64 random bytes behind the prefix.
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _members(row: WebhookEndpoint) -> dict[str, Any]:
    names = ("id", "url", "events", "disabled_at", "disabled_reason", "failing_since", "old_secret_until", "created_at")
    return {name: getattr(row, name) for name in names} | {"enabled": row.disabled_at is None}


def _view(row: WebhookEndpoint) -> WebhookView:
    return WebhookView(**_members(row))
