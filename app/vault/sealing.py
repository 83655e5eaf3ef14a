"""Sealing one value so that it opens in one place only.

Fernet has no associated data, so a ciphertext moved to another row would open there. Each record therefore gets a
Fernet key of its own: HKDF-SHA256 of the data encryption key, with the place (purpose, tenant, record) as ``info``.
"""

from __future__ import annotations

import base64
from typing import NamedTuple

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.errors import SealBroken

DATA_KEY_BYTES = 32


class Place(NamedTuple):
    """Where a sealed value belongs. It opens nowhere else."""

    purpose: str
    tenant_id: str
    record_id: str


class Sealed(NamedTuple):
    """A ciphertext and the id of the data encryption key that it needs."""

    key_id: str
    ciphertext: bytes

    def to_bytes(self) -> bytes:
        """One value for stores without columns (Redis): key id, a colon, ciphertext."""
        return self.key_id.encode() + b":" + self.ciphertext

    @classmethod
    def from_bytes(cls, value: bytes) -> Sealed:
        """Read what ``to_bytes`` wrote.

        Raises:
            SealBroken: it is not of that form.
        """
        key_id, colon, ciphertext = value.partition(b":")
        if not colon or not key_id or not key_id.isascii():
            raise SealBroken("A sealed value has no key id.")
        return cls(key_id=key_id.decode(), ciphertext=ciphertext)


def seal_under(data_key: bytes, place: Place, plaintext: bytes) -> bytes:
    """Seal a value under a data encryption key (32 bytes) for one place."""
    return _fernet(data_key, place).encrypt(plaintext)


def open_under(data_key: bytes, place: Place, ciphertext: bytes) -> bytes:
    """Open what ``seal_under`` made with the same key for the same place.

    Raises:
        SealBroken: the key or the place is another, or bytes were changed.
    """
    try:
        return _fernet(data_key, place).decrypt(ciphertext)
    except InvalidToken as exc:
        raise SealBroken(f"A sealed {place.purpose} does not open under its key in its place.") from exc


def _fernet(data_key: bytes, place: Place) -> Fernet:
    # Length-prefixed parts: no two places share an info, whatever characters their ids are made of.
    info = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in ("latchkey-seal-1", *place))
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(data_key)
    return Fernet(base64.urlsafe_b64encode(derived))
