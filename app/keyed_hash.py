"""Hashes of what can be guessed: phone numbers, request bodies. Without the installation's secret they tell nothing.

A plain hash of a phone number is no secret: all numbers can be tried within hours.
"""

from __future__ import annotations

import hashlib
import hmac

from app.settings import Settings


def keyed_hash(settings: Settings, *, purpose: str, value: str) -> bytes:
    """HMAC-SHA-256 (32 bytes) of a value under this installation's secret, the API hash.

    Whoever changes TELEGRAM_API_HASH gets other hashes: use them only for what may be forgotten within days.

    Args:
        purpose: what the hash is for, so that hashes of one value for two purposes cannot be matched.
    """
    secret = settings.telegram_api_hash.get_secret_value().encode()
    key = hashlib.sha256(b"latchkey keyed hash\0" + purpose.encode() + b"\0" + secret).digest()
    return hmac.digest(key, value.encode(), "sha256")
