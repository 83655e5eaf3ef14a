"""A webhook is believed when it was signed with the endpoint's secret, just now, and not otherwise."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.clock import utc_now
from app.webhooks.delivery import sign
from latchkey_client import WebhookRefused, verify_webhook

SECRET, OLD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = '{"type":"login.authorized","timestamp":"2026-01-02T03:04:05Z","data":{"login_id":"lgn_1","name":"Зоя"}}'


def test_a_signed_webhook_is_read() -> None:
    """As text or bytes, with headers in any case; while a secret is rotated, either signs."""
    headers = sign([OLD_SECRET, SECRET], message_id="msg_1", body=BODY, at=utc_now())
    for body in (BODY, BODY.encode()):
        event = verify_webhook(SECRET, body, {name.upper(): value for name, value in headers.items()})
        assert (event.id, event.type, event.data) == ("msg_1", "login.authorized", {"login_id": "lgn_1", "name": "Зоя"})
        assert event.timestamp.isoformat() == "2026-01-02T03:04:05+00:00"


@pytest.mark.parametrize(
    ("change", "body"),
    [
        ({}, BODY.replace("lgn_1", "lgn_2")),
        ({}, b"\xff"),
        ({"webhook-signature": ""}, BODY),
        ({"webhook-signature": "v1"}, BODY),
        ({"webhook-signature": "v1,not base64"}, BODY),
        ({"webhook-timestamp": "soon"}, BODY),
        ({"webhook-id": "msg_2"}, BODY),
    ],
)
def test_anything_else_is_refused(change: dict[str, str], body: str | bytes) -> None:
    """With one kind of error."""
    headers = sign([SECRET], message_id="msg_1", body=BODY, at=utc_now()) | change
    with pytest.raises(WebhookRefused):
        verify_webhook(SECRET, body, headers)


def test_an_old_webhook_is_refused() -> None:
    """Somebody who recorded one cannot send it again later."""
    headers = sign([SECRET], message_id="msg_1", body=BODY, at=utc_now() - timedelta(minutes=6))
    with pytest.raises(WebhookRefused):
        verify_webhook(SECRET, BODY, headers)


def test_a_signed_body_that_is_no_event_is_refused() -> None:
    """The secret serves for another sender, too."""
    headers = sign([SECRET], message_id="msg_1", body="[]", at=utc_now())
    with pytest.raises(WebhookRefused):
        verify_webhook(SECRET, "[]", headers)
