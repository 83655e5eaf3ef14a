"""Delivering what is due: claim a row, POST it, write down what came of it.

1. A claim raises ``tries`` and holds the row for ``CLAIM_SECONDS``; when its worker dies, the row is due again after that.
2. An endpoint gets a subject's events in their order: one is not claimed while an earlier one of it is pending.
3. An endpoint has at most ``ENDPOINT_IN_FLIGHT`` tries at once, a tenant ``TENANT_IN_FLIGHT``.
4. What fails comes again after ``RETRY_SECONDS``, with jitter; after the last try the delivery is given up.
5. An endpoint that has only failed for ``DISABLE_AFTER``, or answered 410, is disabled, and its tenant hears of it.
"""

from __future__ import annotations

import json
import random
import time
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session as DatabaseSession
from sqlalchemy.orm import aliased
from standardwebhooks import Webhook

from app.clock import rfc3339, utc_now
from app.core import Core
from app.errors import Permanent
from app.logs import get_logger
from app.models import LoginLink, WebhookDelivery, WebhookEndpoint, WebhookMessage
from app.vault.audit import record_event
from app.vault.places import login_client_secret_place, webhook_old_secret_place, webhook_secret_place
from app.vault.sealing import Sealed
from app.webhooks.event_log import give_out_all_positions
from app.webhooks.outbox import queue_event
from app.webhooks.sending import Answer, post

DELIVER_TASK = "latchkey.deliver_webhooks"
RETRY_SECONDS = (5.0, 60.0, 300.0, 1800.0, 7200.0, 21600.0, 54000.0)
MAX_TRIES = len(RETRY_SECONDS) + 1
CLAIM_SECONDS = 60.0
ENDPOINT_IN_FLIGHT = 2
TENANT_IN_FLIGHT = 2
DISABLE_AFTER = timedelta(days=3)
_TURN_SECONDS = 20.0
_SWEEP_ENDPOINTS = 200

_log = get_logger(__name__)


class Claim(NamedTuple):
    """A delivery in this worker's hands, and what it needs; all of it read in one transaction."""

    delivery: WebhookDelivery
    endpoint: WebhookEndpoint
    message: WebhookMessage
    link: LoginLink | None


def sweep_webhooks(core: Core) -> int:
    """Send each endpoint with something due to a worker, erase old secrets whose time is up, and give out positions.

    Returns:
        How many endpoints were sent.

    Raises:
        Unavailable: PostgreSQL is away.
    """
    now = utc_now()
    with core.transaction() as db:
        give_out_all_positions(db)
    with core.transaction() as db:
        db.execute(
            update(WebhookEndpoint)
            .where(WebhookEndpoint.old_secret_until <= now)
            .values(old_secret_sealed=None, old_secret_until=None)
        )
        due = db.scalars(
            select(WebhookDelivery.endpoint_id)
            .join(WebhookEndpoint, WebhookEndpoint.id == WebhookDelivery.endpoint_id)
            .where(WebhookEndpoint.disabled_at.is_(None), _due(now))
            .group_by(WebhookDelivery.endpoint_id)
            .order_by(func.min(WebhookDelivery.next_try_at))
            .limit(_SWEEP_ENDPOINTS)
        ).all()
    for endpoint_id in due:
        core.dispatch(DELIVER_TASK, endpoint_id)
    return len(due)


def deliver_due(core: Core, endpoint_id: str) -> int:
    """Deliver what is due at an endpoint, one after the other, for a turn; the sweep sends the rest again.

    Returns:
        How many tries were made.

    Raises:
        Unavailable: PostgreSQL is away; a claimed delivery is due again when its claim runs out.
    """
    stop_at, tries = time.monotonic() + _TURN_SECONDS, 0
    while time.monotonic() < stop_at:
        with core.transaction() as db:
            claim = _claim(db, endpoint_id, now=utc_now())
        if claim is None:
            break
        tries += 1
        _record(core, claim, _send(core, claim))
    return tries


def _due(now: datetime) -> ColumnElement[bool]:
    free = or_(WebhookDelivery.claimed_until.is_(None), WebhookDelivery.claimed_until <= now)
    return and_(WebhookDelivery.state == "pending", WebhookDelivery.next_try_at <= now, free)


def _claim(db: DatabaseSession, endpoint_id: str, *, now: datetime) -> Claim | None:
    endpoint = db.get(WebhookEndpoint, endpoint_id)
    if endpoint is None:
        return None
    # Claims of a tenant come one after the other, so that its bounds hold.
    db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"webhooks:{endpoint.tenant_id}", 0))))
    db.refresh(endpoint)
    if endpoint.disabled_at is not None or not _has_room(db, endpoint, now=now):
        return None
    delivery = _next(db, endpoint_id, now=now)
    if delivery is None:
        return None
    delivery.tries += 1
    delivery.last_try_at = now
    delivery.claimed_until = now + timedelta(seconds=CLAIM_SECONDS)
    message = db.get_one(WebhookMessage, delivery.message_id)
    login_id = message.payload.get("login_id") if message.event == "session.invalid" else None
    return Claim(delivery, endpoint, message, db.get(LoginLink, login_id) if login_id else None)


def _has_room(db: DatabaseSession, endpoint: WebhookEndpoint, *, now: datetime) -> bool:
    in_flight = db.scalars(
        select(WebhookDelivery.endpoint_id).where(
            WebhookDelivery.tenant_id == endpoint.tenant_id,
            WebhookDelivery.state == "pending",
            WebhookDelivery.claimed_until > now,
        )
    ).all()
    return len(in_flight) < TENANT_IN_FLIGHT and list(in_flight).count(endpoint.id) < ENDPOINT_IN_FLIGHT


def _next(db: DatabaseSession, endpoint_id: str, *, now: datetime) -> WebhookDelivery | None:
    earlier = aliased(WebhookDelivery)
    waits = (
        select(earlier.message_id)
        .where(
            earlier.endpoint_id == WebhookDelivery.endpoint_id,
            earlier.subject == WebhookDelivery.subject,
            earlier.seq < WebhookDelivery.seq,
            earlier.state == "pending",
        )
        .exists()
    )
    return db.scalar(
        select(WebhookDelivery)
        .where(WebhookDelivery.endpoint_id == endpoint_id, _due(now), ~waits)
        .order_by(WebhookDelivery.next_try_at, WebhookDelivery.seq)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def _send(core: Core, claim: Claim) -> Answer:
    if claim.delivery.tries > MAX_TRIES:
        return Answer("error")  # its last try's worker died before it could write
    try:
        body, secrets = _body(core, claim), _secrets(core, claim.endpoint)
    except Permanent as exc:
        _log.error("webhook.unreadable", endpoint_id=claim.endpoint.id, event_id=claim.message.id, detail=exc.detail)
        return Answer("error")
    headers = sign(secrets, message_id=claim.message.id, body=body, at=utc_now())
    return post(
        claim.endpoint.url,
        body=body.encode(),
        headers=headers,
        allow_private=core.settings.webhook_allow_private,
    )


def sign(secrets: list[str], *, message_id: str, body: str, at: datetime) -> dict[str, str]:
    """The headers of a Standard Webhook: one signature for each secret that is in use."""
    at = at.astimezone(UTC)
    signatures = [Webhook(secret).sign(msg_id=message_id, timestamp=at, data=body) for secret in secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": "Latchkey-Webhooks",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _body(core: Core, claim: Claim) -> str:
    told = dict(claim.message.payload)
    if claim.link is not None:
        place = login_client_secret_place(claim.link.tenant_id, claim.link.id)
        secret = core.keyring.open(place, Sealed(claim.link.key_id, claim.link.client_secret_sealed))
        told["login_url"] = f"{told['login_url']}#{secret.decode()}"
    whole = {"type": claim.message.event, "timestamp": rfc3339(claim.message.created_at), "data": told}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":"))


def _secrets(core: Core, endpoint: WebhookEndpoint) -> list[str]:
    opened = [
        core.keyring.open(
            webhook_secret_place(endpoint.tenant_id, endpoint.id), Sealed(endpoint.key_id, endpoint.secret_sealed)
        )
    ]
    if endpoint.old_secret_sealed is not None and (endpoint.old_secret_until or utc_now()) > utc_now():
        place = webhook_old_secret_place(endpoint.tenant_id, endpoint.id)
        opened.append(core.keyring.open(place, Sealed(endpoint.key_id, endpoint.old_secret_sealed)))
    return [secret.decode() for secret in opened]


def _record(core: Core, claim: Claim, answer: Answer) -> None:
    core.metrics.webhook_deliveries.labels(outcome=answer.outcome).inc()
    delivery, now = claim.delivery, utc_now()
    changes: dict[str, object] = {"outcome": answer.outcome, "status_code": answer.status_code, "claimed_until": None}
    if answer.outcome == "delivered":
        changes |= {"state": "delivered", "next_try_at": None}
    elif delivery.tries >= MAX_TRIES:
        changes |= {"state": "failed", "next_try_at": None}
    else:
        wait = RETRY_SECONDS[delivery.tries - 1] * random.uniform(0.9, 1.1)  # noqa: S311  # jitter
        changes["next_try_at"] = now + timedelta(seconds=wait)
    fields = {"endpoint_id": delivery.endpoint_id, "event_id": delivery.message_id, "tries": delivery.tries}
    _log.info("webhook.tried", outcome=answer.outcome, status_code=answer.status_code, **fields)
    with core.transaction() as db:
        db.execute(
            update(WebhookDelivery)
            .where(
                WebhookDelivery.endpoint_id == delivery.endpoint_id,
                WebhookDelivery.message_id == delivery.message_id,
                WebhookDelivery.tries == delivery.tries,
                WebhookDelivery.state == "pending",
            )
            .values(changes)
        )
        _judge_endpoint(core, db, delivery.endpoint_id, answer, now)


def _judge_endpoint(core: Core, db: DatabaseSession, endpoint_id: str, answer: Answer, now: datetime) -> None:
    # Locked as an update does: not against the foreign keys of those who queue events.
    locked = select(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id).with_for_update(key_share=True)
    endpoint = db.scalar(locked.execution_options(populate_existing=True))
    if endpoint is None or endpoint.disabled_at is not None:
        return
    if answer.outcome == "delivered":
        endpoint.failing_since = None
        return
    if endpoint.failing_since is None:
        endpoint.failing_since = now
    if answer.outcome == "gone" or now - endpoint.failing_since >= DISABLE_AFTER:
        _disable(core, db, endpoint, "gone" if answer.outcome == "gone" else "failing", now)


def _disable(core: Core, db: DatabaseSession, endpoint: WebhookEndpoint, reason: str, now: datetime) -> None:
    endpoint.disabled_at, endpoint.disabled_reason = now, reason
    db.flush()
    tenant_id = endpoint.tenant_id
    record_event(
        db, tenant_id=tenant_id, actor=core.actor, action="webhook.disabled", subject=endpoint.id, reason=reason
    )
    payload = {"webhook_id": endpoint.id, "reason": reason}
    queue_event(db, tenant_id=tenant_id, event="webhook.disabled", subject=endpoint.id, payload=payload)
    core.metrics.webhooks_disabled.labels(tenant_id=tenant_id).inc()
    _log.warning("webhook.disabled", endpoint_id=endpoint.id, tenant_id=tenant_id, reason=reason)
