"""The port of key providers: what it means to wrap and unwrap a data encryption key."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from app.errors import Permanent


class KeyUnavailable(Permanent):
    """Raised when a key encryption key is not to be had (not configured, disabled, denied): the operator mends that.

    Says nothing about the wrapped key, which opens again once it is mended.
    """

    code = "key_unavailable"


class WrappedKey(NamedTuple):
    """A data encryption key, wrapped. Opens only for its ``key_id``, by that provider's key ``wrapping_key_id``."""

    key_id: str
    provider: str
    wrapping_key_id: str
    ciphertext: bytes


class KeyProvider(Protocol):
    """Wraps data encryption keys under a key encryption key that it keeps to itself."""

    @property
    def name(self) -> str:
        """What the settings call it."""
        ...

    def wrap(self, *, key_id: str, data_key: bytes) -> WrappedKey:
        """Wrap a data encryption key (32 bytes); ``key_id`` is bound to it and needed to unwrap.

        Raises:
            KeyUnavailable: the key encryption key is not to be had.
            Transient: the provider is away.
        """
        ...

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """Unwrap a data encryption key.

        Raises:
            SealBroken: it was wrapped by another key, for another id, or changed.
            KeyUnavailable: the key encryption key is not to be had.
            Transient: the provider is away.
        """
        ...
