"""Delivering events: signed, in order, again and again, and to a receiver that misbehaves."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from standardwebhooks import Webhook

from app.clock import utc_now
from app.core import Core
from app.models import WebhookDelivery, WebhookEndpoint
from app.webhooks.delivery import DISABLE_AFTER, MAX_TRIES, deliver_due, sweep_webhooks
from app.webhooks.endpoints import NewWebhookView, change_endpoint, create_endpoint, read_endpoint, rotate_secret
from app.webhooks.outbox import queue_event
from app.webhooks.replays import list_deliveries, replay_event, replay_since, send_test
from app.webhooks.sending import post
from tests.builders import Sent
from tests.webhooks.receiver import Receiver


def _listen(core: Core, receiver: Receiver, events: list[str] | None = None) -> NewWebhookView:
    return create_endpoint(core, tenant_id="alice", actor="test", url=receiver.url, events=events)


def _queue(core: Core, event: str = "login.failed", subject: str = "lgn_1", **payload: object) -> None:
    with core.transaction() as db:
        queue_event(db, tenant_id="alice", event=event, subject=subject, payload=payload)


def _make_due(core: Core) -> None:
    with core.transaction() as db:
        pending = update(WebhookDelivery).where(WebhookDelivery.state == "pending")
        db.execute(pending.values(next_try_at=utc_now(), claimed_until=None))


def test_an_event_is_delivered_signed(open_core: Core, receiver: Receiver, sent: Sent) -> None:
    """The sweep sends the endpoint, the library verifies what arrives, and the log says so."""
    made = _listen(open_core, receiver)
    _queue(open_core, reason="flood_wait")
    assert sweep_webhooks(open_core) == 1
    assert ("latchkey.deliver_webhooks", made.id) in sent.tasks
    assert deliver_due(open_core, made.id) == 1
    ((headers, body),) = receiver.got
    told = Webhook(made.secret).verify(body, headers)
    assert told["type"] == "login.failed"
    assert told["data"] == {"reason": "flood_wait"}
    (row,) = list_deliveries(open_core, tenant_id="alice", endpoint_id=made.id, before_seq=None, limit=5).data
    assert (row.event_id, row.state, row.tries, row.outcome, row.status_code) == (
        headers["webhook-id"],
        "delivered",
        1,
        "delivered",
        204,
    )
    assert sweep_webhooks(open_core) == 0


def test_eight_tries_have_one_id_and_then_it_is_given_up(open_core: Core, receiver: Receiver) -> None:
    """Every try of an event has the same webhook-id and body; after the eighth it has failed."""
    receiver.answer = b"HTTP/1.1 500 No\r\n\r\n"
    made = _listen(open_core, receiver)
    _queue(open_core)
    for _ in range(MAX_TRIES + 1):
        deliver_due(open_core, made.id)
        _make_due(open_core)
    assert len(receiver.got) == MAX_TRIES == 8
    assert len({(headers["webhook-id"], body) for headers, body in receiver.got}) == 1
    (row,) = list_deliveries(open_core, tenant_id="alice", endpoint_id=made.id, before_seq=None, limit=5).data
    assert (row.state, row.outcome, row.status_code, row.next_try_at) == ("failed", "refused", 500, None)


def test_a_subjects_events_keep_their_order(open_core: Core, receiver: Receiver) -> None:
    """A later event of a session waits for the earlier one; another session's does not."""
    receiver.answer = b"HTTP/1.1 503 Later\r\n\r\n"
    made = _listen(open_core, receiver)
    for number, subject in ((1, "ses_a"), (2, "ses_a"), (3, "ses_b")):
        _queue(open_core, subject=subject, number=number)
    deliver_due(open_core, made.id)
    assert [json.loads(body)["data"]["number"] for _, body in receiver.got] == [1, 3]
    receiver.answer = b"HTTP/1.1 204 Fine\r\n\r\n"
    _make_due(open_core)
    deliver_due(open_core, made.id)
    assert [json.loads(body)["data"]["number"] for _, body in receiver.got][2:] in ([1, 2, 3], [1, 3, 2])


def test_a_filter_lets_only_its_events_pass(open_core: Core, receiver: Receiver) -> None:
    """An endpoint hears what it asked for; a test call passes every filter."""
    made = _listen(open_core, receiver, events=["session.invalid"])
    _queue(open_core, "login.failed")
    _queue(open_core, "session.invalid", "ses_a")
    send_test(open_core, tenant_id="alice", endpoint_id=made.id)
    deliver_due(open_core, made.id)
    assert {json.loads(body)["type"] for _, body in receiver.got} == {"session.invalid", "webhook.test"}


def test_both_secrets_sign_during_the_overlap(open_core: Core, receiver: Receiver) -> None:
    """After a rotation a receiver with either secret verifies; when the time is up the old one is erased."""
    made = _listen(open_core, receiver)
    rotated = rotate_secret(open_core, tenant_id="alice", actor="test", endpoint_id=made.id)
    _queue(open_core)
    deliver_due(open_core, made.id)
    headers, body = receiver.got[0]
    for secret in (made.secret, rotated.secret):
        Webhook(secret).verify(body, headers)
    with open_core.transaction() as db:
        db.execute(update(WebhookEndpoint).values(old_secret_until=utc_now()))
    sweep_webhooks(open_core)
    with open_core.transaction() as db:
        assert db.scalar(select(WebhookEndpoint.old_secret_sealed)) is None


def test_replays_send_again_under_the_same_id(open_core: Core, receiver: Receiver) -> None:
    """One event, or all since a time, also those from before the endpoint was enabled again."""
    made = _listen(open_core, receiver)
    _queue(open_core)
    deliver_due(open_core, made.id)
    event_id = receiver.got[0][0]["webhook-id"]
    assert replay_event(open_core, tenant_id="alice", endpoint_id=made.id, event_id=event_id).events == 1
    deliver_due(open_core, made.id)
    since = utc_now() - timedelta(hours=1)
    assert replay_since(open_core, tenant_id="alice", endpoint_id=made.id, since=since).events == 1
    deliver_due(open_core, made.id)
    assert [headers["webhook-id"] for headers, _ in receiver.got] == [event_id] * 3


def test_an_endpoint_that_fails_for_long_is_disabled(open_core: Core, receiver: Receiver) -> None:
    """It is shown, nothing more is sent, other endpoints hear of it, and enabling goes on with what is pending."""
    receiver.answer = b"HTTP/1.1 500 No\r\n\r\n"
    made = _listen(open_core, receiver, events=["login.failed"])
    other = _listen(open_core, receiver, events=["webhook.disabled"])
    _queue(open_core)
    deliver_due(open_core, made.id)
    with open_core.transaction() as db:
        db.execute(update(WebhookEndpoint).values(failing_since=utc_now() - DISABLE_AFTER))
    _make_due(open_core)
    deliver_due(open_core, made.id)
    seen = read_endpoint(open_core, tenant_id="alice", endpoint_id=made.id)
    assert (seen.enabled, seen.disabled_reason) == (False, "failing")
    _make_due(open_core)
    assert deliver_due(open_core, made.id) == 0
    receiver.answer = b"HTTP/1.1 204 Fine\r\n\r\n"
    deliver_due(open_core, other.id)
    assert json.loads(receiver.got[-1][1])["data"] == {"webhook_id": made.id, "reason": "failing"}
    change_endpoint(open_core, tenant_id="alice", actor="test", endpoint_id=made.id, changes={"enabled": True})
    assert deliver_due(open_core, made.id) == 1


@pytest.mark.parametrize(
    ("answer", "drip", "outcome"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", False, "redirected"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\nshort", False, "delivered"),
        (b"HTTP/1.1 200 OK\r\n\r\n", True, "delivered"),
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", True, "timeout"),
        (b"", True, "unreachable"),
        (b"HTTP/1.1 410 Gone\r\n\r\n", False, "gone"),
    ],
)
def test_a_receiver_that_misbehaves_costs_bounded_time(
    receiver: Receiver, answer: bytes, drip: bool, outcome: str
) -> None:
    """One that redirects, lies about its length, never ends or trickles its headers is left in time."""
    receiver.answer, receiver.drip = answer, drip
    began = time.monotonic()
    found = post(receiver.url, body=b"{}", headers={}, allow_private=True, total_seconds=1.0).outcome
    assert found == outcome or (answer == b"" and found == "timeout")
    assert time.monotonic() - began < 3


def test_a_private_receiver_is_not_reached(core: Core, open_core: Core, receiver: Receiver) -> None:
    """An endpoint whose name has come to point inside is blocked when it is delivered to."""
    made = _listen(open_core, receiver)
    with core.transaction() as db:
        db.execute(update(WebhookEndpoint).values(url=f"https://localhost:{receiver.port}/"))
    _queue(core)
    deliver_due(core, made.id)
    assert receiver.got == []
    (row,) = list_deliveries(core, tenant_id="alice", endpoint_id=made.id, before_seq=None, limit=5).data
    assert row.outcome == "blocked"
