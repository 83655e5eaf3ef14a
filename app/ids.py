"""Opaque ids with a prefix that says what they name, and the secrets that go with them."""

from __future__ import annotations

import hashlib
import secrets

_ALPHABET = b"0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: nothing to misread
_LETTER_OF_BYTE = _ALPHABET * 8  # 256 is a multiple of 32: every letter is as likely as every other


def new_id(prefix: str) -> str:
    """Make an id such as ``lgn_9f3k…``: 20 characters of 5 bits after the prefix, so 100 bits of chance."""
    return f"{prefix}_{secrets.token_bytes(20).translate(_LETTER_OF_BYTE).decode()}"


def new_secret(prefix: str) -> str:
    """Make a secret such as ``lk_…`` with 256 bits of chance; shown once, stored as ``hash_secret`` of it."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def hash_secret(secret: str) -> bytes:
    """SHA-256 of a secret (32 bytes). No salt and no stretching: what is hashed is 256 random bits, not a password."""
    return hashlib.sha256(secret.encode()).digest()
