"""Webhooks: believe one only when it is signed. Standard Webhooks (https://www.standardwebhooks.com)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from standardwebhooks import Webhook, WebhookVerificationError

from .errors import WebhookRefused


@dataclass(frozen=True, kw_only=True)
class WebhookEvent:
    """Something that happened.

    Args:
        id: the same for every try and replay of an event: keep those that you have seen.
        type: ``login.authorized``, ``session.invalid``, …
        data: depends on the type; ``session.invalid`` has ``login_url`` for the person to log in again.
    """

    id: str
    type: str
    timestamp: datetime
    data: Mapping[str, Any]


class _Body(msgspec.Struct):
    type: str
    timestamp: datetime
    data: dict[str, Any]


def verify_webhook(secret: str, body: bytes | str, headers: Mapping[str, str]) -> WebhookEvent:
    """Verify and read a webhook.

    Args:
        secret: ``whsec_…``, as it was shown when the endpoint was made.
        body: the request's body as it came, not parsed and written anew.
        headers: the request's, in any case.

    Raises:
        WebhookRefused: the signature is missing or wrong, or more than five minutes old.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        Webhook(secret).verify(body, lower, json_parse=False)
        told = msgspec.json.decode(body, type=_Body)
    except (WebhookVerificationError, msgspec.MsgspecError, ValueError) as exc:
        raise WebhookRefused("This webhook was not signed with the endpoint's secret just now.") from exc
    return WebhookEvent(id=lower["webhook-id"], type=told.type, timestamp=told.timestamp, data=told.data)
