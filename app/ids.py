"""Opaque ids with a prefix that says what they name, and the secrets that go with them."""

from __future__ import annotations

import hashlib
import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: nothing to misread


def new_id(prefix: str) -> str:
    """Make an id such as ``lgn_9f3k…``: 20 characters of 5 bits after the prefix, so 100 bits of chance."""
    return prefix + "_" + "".join(secrets.choice(_ALPHABET) for _ in range(20))


def new_secret(prefix: str) -> str:
    """Make a secret such as ``lk_…`` with 256 bits of chance; shown once, stored as ``hash_secret`` of it."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def hash_secret(secret: str) -> bytes:
    """SHA-256 of a secret (32 bytes). No salt and no stretching: what is hashed is 256 random bits, not a password."""
    return hashlib.sha256(secret.encode()).digest()
