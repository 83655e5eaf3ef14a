"""Key providers: who wraps and unwraps data encryption keys. Two real ones stand behind one port."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.errors import SealBroken, SettingsError
from app.settings import Settings

_NONCE_BYTES = 12


class KeyProvider(Protocol):
    """Wraps data encryption keys under a key encryption key that it keeps to itself."""

    name: str
    wrapping_key_id: str

    def wrap(self, *, key_id: str, data_key: bytes) -> bytes:
        """Wrap a data encryption key; ``key_id`` is bound to it and needed to unwrap."""
        ...

    def unwrap(self, *, key_id: str, wrapped_key: bytes, wrapping_key_id: str) -> bytes:
        """Unwrap a data encryption key.

        Raises:
            SealBroken: it was wrapped by another key, for another id, or changed.
        """
        ...


class LocalKeyProvider:
    """Wraps with AES-256-GCM under a key from a file: base64 of 32 random bytes.

    For one machine, and for development. Who can read the file can open everything.
    """

    name = "local"

    def __init__(self, key_file: Path) -> None:
        try:
            key = base64.b64decode(key_file.read_bytes().strip(), validate=True)
        except (OSError, binascii.Error) as exc:
            raise SettingsError(f"LOCAL_KEY_FILE: {key_file} cannot be read as base64") from exc
        if len(key) != 32:
            raise SettingsError(f"LOCAL_KEY_FILE: {key_file} must hold base64 of 32 bytes; it holds {len(key)}")
        self._aead = AESGCM(key)
        self.wrapping_key_id = "local-" + hashlib.sha256(b"latchkey-key-id" + key).hexdigest()[:16]

    def wrap(self, *, key_id: str, data_key: bytes) -> bytes:
        """See ``KeyProvider.wrap``."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, data_key, key_id.encode())

    def unwrap(self, *, key_id: str, wrapped_key: bytes, wrapping_key_id: str) -> bytes:
        """See ``KeyProvider.unwrap``."""
        if wrapping_key_id != self.wrapping_key_id:
            raise SealBroken(
                f"Key {key_id} was wrapped by {wrapping_key_id}; LOCAL_KEY_FILE is {self.wrapping_key_id}."
            )
        nonce, ciphertext = wrapped_key[:_NONCE_BYTES], wrapped_key[_NONCE_BYTES:]
        try:
            return self._aead.decrypt(nonce, ciphertext, key_id.encode())
        except (InvalidTag, ValueError) as exc:
            raise SealBroken(f"Key {key_id} does not unwrap.") from exc


def make_key_provider(settings: Settings) -> KeyProvider:
    """Build the provider that the settings name."""
    assert settings.local_key_file is not None, "Settings checks this"
    return LocalKeyProvider(settings.local_key_file)
