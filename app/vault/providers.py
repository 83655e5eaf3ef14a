"""Key providers: who wraps and unwraps data encryption keys.

Two real ones stand behind one port: ``local`` here, ``aws-kms`` in ``app.vault.kms``. New keys are wrapped by the one that the
settings name; wrapped keys say who unwraps them, so that both serve while keys move from one to the other.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.errors import SealBroken, SettingsError
from app.setting_values import read_local_keys
from app.settings import Settings
from app.vault.wrapping import KeyProvider, KeyUnavailable, WrappedKey

_NONCE_BYTES = 12


class LocalKeyProvider:
    """Wraps with AES-256-GCM under a key from a file: base64 of 32 random bytes.

    For one machine, and for development. Who can read the file can open everything. A file may hold several keys, one per
    line: the first wraps, all unwrap, so that ``keys rewrap`` can move from the second to the first.
    """

    name = "local"

    def __init__(self, key_file: Path) -> None:
        try:
            keys = read_local_keys(key_file)
        except ValueError as exc:
            raise SettingsError(f"LOCAL_KEY_FILE: {exc}") from exc
        self._aeads = {
            "local-" + hashlib.sha256(b"latchkey-key-id" + key).hexdigest()[:16]: AESGCM(key) for key in keys
        }
        self._current = next(iter(self._aeads))

    def wrap(self, *, key_id: str, data_key: bytes) -> WrappedKey:
        """See ``KeyProvider.wrap``."""
        nonce = os.urandom(_NONCE_BYTES)
        ciphertext = nonce + self._aeads[self._current].encrypt(nonce, data_key, key_id.encode())
        return WrappedKey(key_id, self.name, self._current, ciphertext)

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """See ``KeyProvider.unwrap``."""
        aead = self._aeads.get(wrapped.wrapping_key_id)
        if aead is None:
            raise KeyUnavailable(
                f"Key {wrapped.key_id} was wrapped by {wrapped.wrapping_key_id}, which LOCAL_KEY_FILE does not hold."
            )
        nonce, ciphertext = wrapped.ciphertext[:_NONCE_BYTES], wrapped.ciphertext[_NONCE_BYTES:]
        try:
            return aead.decrypt(nonce, ciphertext, wrapped.key_id.encode())
        except (InvalidTag, ValueError) as exc:
            raise SealBroken(f"Key {wrapped.key_id} does not unwrap.") from exc


class KeyProviders:
    """The configured providers: one wraps, each unwraps what it wrapped. Itself a ``KeyProvider``.

    Args:
        current: the one that wraps.
        others: how to make the others, by name; made when something is to be unwrapped by them.
    """

    def __init__(self, current: KeyProvider, others: Mapping[str, Callable[[], KeyProvider]]) -> None:
        self._current = current
        self._others = {name: cache(make) for name, make in others.items()}

    @property
    def name(self) -> str:
        """The one that wraps."""
        return self._current.name

    def wrap(self, *, key_id: str, data_key: bytes) -> WrappedKey:
        """See ``KeyProvider.wrap``."""
        return self._current.wrap(key_id=key_id, data_key=data_key)

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """See ``KeyProvider.unwrap``."""
        if wrapped.provider == self._current.name:
            return self._current.unwrap(wrapped)
        if wrapped.provider in self._others:
            return self._others[wrapped.provider]().unwrap(wrapped)
        raise KeyUnavailable(
            f"Key {wrapped.key_id} was wrapped by {wrapped.provider} ({wrapped.wrapping_key_id}), which is not configured."
        )


def make_key_provider(settings: Settings) -> KeyProviders:
    """Build the provider that ``KEY_PROVIDER`` names, which wraps; what else is configured still unwraps.

    Raises:
        SettingsError: what the provider needs is missing or senseless.
    """
    makers: dict[str, Callable[[], KeyProvider]] = {}
    if (key_file := settings.local_key_file) is not None:
        makers["local"] = lambda: LocalKeyProvider(key_file)
    if (kms_key_id := settings.kms_key_id) is not None:
        makers["aws-kms"] = lambda: _make_kms_provider(kms_key_id, settings.kms_endpoint_url)
    return KeyProviders(makers.pop(settings.key_provider)(), makers)


def _make_kms_provider(kms_key_id: str, endpoint_url: str | None) -> KeyProvider:
    from app.vault.kms import KmsKeyProvider  # boto3 takes a quarter of a second, and only KMS needs it here

    return KmsKeyProvider(kms_key_id=kms_key_id, endpoint_url=endpoint_url)
