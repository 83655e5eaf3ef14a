"""The key ring: which data encryption key seals now, and every key that still opens.

Unwrapped keys live in this process's memory for minutes and nowhere else.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import select, text
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.database import Transaction
from app.errors import SealBroken
from app.ids import new_id
from app.metrics import Metrics
from app.models import EncryptionKey
from app.vault.audit import record_event
from app.vault.providers import KeyProvider
from app.vault.sealing import DATA_KEY_BYTES, Place, Sealed, open_under, seal_under

_ADVISORY_LOCK = 7_462_011_904  # any fixed number: only the making of an active key takes it
CACHE_SECONDS = 300.0


class _Cached(NamedTuple):
    data_key: bytes
    until: float


class KeyRing:
    """Seals and opens values. Safe for threads.

    Args:
        actor: this process, as the audit names it.
        cache_seconds: how long an unwrapped key is kept; each unwrap after that is audited anew.
        monotonic: the clock that the cache goes by.
    """

    def __init__(
        self,
        *,
        transaction: Transaction,
        provider: KeyProvider,
        metrics: Metrics,
        actor: str,
        cache_seconds: float = CACHE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transaction = transaction
        self._provider = provider
        self._metrics = metrics
        self._actor = actor
        self._cache_seconds = cache_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._data_keys: dict[str, _Cached] = {}
        self._active: tuple[str, float] | None = None

    def seal(self, place: Place, plaintext: bytes) -> Sealed:
        """Seal a value under the active key, which is made if there is none yet.

        Reads the database when the cache has run out. Source of the construction: ``app.vault.sealing``.
        """
        key_id = self._active_key_id()
        return Sealed(key_id=key_id, ciphertext=seal_under(self._data_key(key_id), place, plaintext))

    def seal_under_key(self, key_id: str, place: Place, plaintext: bytes) -> bytes:
        """Seal a value under the key that the rest of its row is sealed under, so that one ``key_id`` serves the row."""
        return seal_under(self._data_key(key_id), place, plaintext)

    def open(self, place: Place, sealed: Sealed) -> bytes:
        """Open a sealed value.

        Raises:
            SealBroken: its key is unknown or destroyed, or it does not belong in this place.
        """
        return open_under(self._data_key(sealed.key_id), place, sealed.ciphertext)

    def forget(self) -> None:
        """Drop every unwrapped key; the next use unwraps again."""
        with self._lock:
            self._data_keys.clear()
            self._active = None

    def _active_key_id(self) -> str:
        with self._lock:
            if self._active is not None and self._active[1] > self._monotonic():
                return self._active[0]
        with self._transaction() as db:
            key_id = db.scalar(select(EncryptionKey.id).where(EncryptionKey.state == "active"))
            if key_id is None:
                key_id = self._ensure_active(db)
        with self._lock:
            self._active = (key_id, self._monotonic() + self._cache_seconds)
        return key_id

    def _ensure_active(self, db: DatabaseSession) -> str:
        # Two processes that start on an empty database must agree on one first key.
        db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        key_id = db.scalar(select(EncryptionKey.id).where(EncryptionKey.state == "active"))
        return key_id if key_id is not None else self.add_active_key(db)

    def add_active_key(self, db: DatabaseSession) -> str:
        """Make a data encryption key and add it as the active one; the caller has retired the one before."""
        key_id, data_key = new_id("key"), os.urandom(DATA_KEY_BYTES)
        db.add(
            EncryptionKey(
                id=key_id,
                state="active",
                provider=self._provider.name,
                wrapping_key_id=self._provider.wrapping_key_id,
                wrapped_key=self._provider.wrap(key_id=key_id, data_key=data_key),
                created_at=utc_now(),
                state_changed_at=utc_now(),
            )
        )
        record_event(db, tenant_id=None, actor=self._actor, action="key.created", subject=key_id)
        db.flush()
        return key_id

    def _data_key(self, key_id: str) -> bytes:
        with self._lock:
            cached = self._data_keys.get(key_id)
            if cached is not None and cached.until > self._monotonic():
                return cached.data_key
        data_key = self._unwrap(key_id)
        with self._lock:
            self._data_keys[key_id] = _Cached(data_key, self._monotonic() + self._cache_seconds)
        return data_key

    def _unwrap(self, key_id: str) -> bytes:
        with self._transaction() as db:
            row = db.get(EncryptionKey, key_id)
            if row is None:
                raise SealBroken(f"There is no key {key_id}; restore it from a backup.")
            if row.wrapped_key is None:
                raise SealBroken(f"Key {key_id} was destroyed; what it sealed is gone.")
            data_key = self._provider.unwrap(
                key_id=key_id, wrapped_key=row.wrapped_key, wrapping_key_id=row.wrapping_key_id
            )
            record_event(db, tenant_id=None, actor=self._actor, action="key.unwrapped", subject=key_id)
        self._metrics.key_unwraps.inc()
        return data_key
