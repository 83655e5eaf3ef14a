"""The key ring: which data encryption key seals now, and every key that still opens.

Unwrapped keys live in this process's memory for minutes and nowhere else. Every key that is not destroyed opens, whatever
its state: a process that has not heard of a rotation yet seals under the old key for up to ``ACTIVE_SECONDS``, and what it
sealed must open.

A key provider may take its seconds, and a transaction holds row locks and a connection meanwhile. So inside a transaction the
ring seals and opens with what is at hand in memory, and asks nobody: see ``KeyNotAtHand`` and ``app.vault.transact``.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.database import Transaction, in_transaction
from app.errors import SealBroken, Transient
from app.ids import new_id
from app.metrics import Metrics
from app.models import EncryptionKey
from app.vault.audit import record_event
from app.vault.flights import SingleFlight
from app.vault.sealing import DATA_KEY_BYTES, Place, Sealed, open_under, seal_under
from app.vault.wrapping import KeyProvider, WrappedKey

CACHE_SECONDS = 300.0
ACTIVE_SECONDS = 60.0
_only_at_hand: ContextVar[bool] = ContextVar("keys are not asked for here", default=False)
_ADVISORY_LOCK = 7_462_011_904  # any fixed number: only the making of an active key takes it


class KeyNotAtHand(Transient):
    """Raised inside a transaction instead of asking for a key: leave the transaction, ``KeyRing.fetch`` it, begin again.

    Args:
        key_id: which one; None: the active one, and this process does not know which that is.
        why: for the audit of the unwrap, as in ``to open the session of ses_…``.
    """

    code = "key_not_at_hand"

    def __init__(self, key_id: str | None, why: str) -> None:
        super().__init__(f"{key_id or 'The active key'} is not at hand, and a transaction does not wait for it.")
        self.key_id = key_id
        self.why = why


@dataclass(frozen=True)
class _DataKey:
    data_key: bytes = field(repr=False)
    until: float


class _ActiveKey(NamedTuple):
    key_id: str
    until: float


class KeyRing:
    """Seals and opens values. Safe for threads.

    Args:
        transaction: from a pool that no caller of this ring holds a connection of: a ring that waited for the connections
            of threads that wait for the ring would wait for ever.
        provider: wraps and unwraps; stays reachable as ``provider``.
        actor: this process, as the audit names it.
        cache_seconds: how long an unwrapped key is kept; each unwrap after that is audited anew.
        active_seconds: for how long this process may not notice that another key is active.
        monotonic: the clock that both go by.
    """

    def __init__(
        self,
        *,
        transaction: Transaction,
        provider: KeyProvider,
        metrics: Metrics,
        actor: str,
        cache_seconds: float = CACHE_SECONDS,
        active_seconds: float = ACTIVE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transaction = transaction
        self.provider = provider
        self._metrics = metrics
        self._actor = actor
        self._cache_seconds = cache_seconds
        self._active_seconds = active_seconds
        self._monotonic = monotonic
        self._unwraps = SingleFlight[bytes]()
        self._lookups = SingleFlight[str]()
        self._lock = threading.Lock()
        self._data_keys: dict[str, _DataKey] = {}
        self._active: _ActiveKey | None = None

    def seal(self, place: Place, plaintext: bytes) -> Sealed:
        """Seal a value under the active key, which is made if there is none yet.

        Reads the database when the cache has run out. The construction is in ``app.vault.sealing``.

        Raises:
            KeyNotAtHand: see there; so do all that seal, open or name the active key.
        """
        key_id = self.active_key_id()
        return Sealed(key_id=key_id, ciphertext=self.seal_under_key(key_id, place, plaintext))

    def seal_under_key(self, key_id: str, place: Place, plaintext: bytes) -> bytes:
        """Seal a value under the key that the rest of its row is sealed under, so that one ``key_id`` serves the row."""
        return seal_under(self._data_key(key_id, f"to seal a {place.purpose}"), place, plaintext)

    def open(self, place: Place, sealed: Sealed) -> bytes:
        """Open a sealed value.

        Raises:
            SealBroken: its key is unknown or destroyed, or it does not belong in this place.
        """
        data_key = self._data_key(sealed.key_id, f"to open the {place.purpose} of {place.record_id}")
        return open_under(data_key, place, sealed.ciphertext)

    def active_key_id(self) -> str:
        """The key that seals now, as far as this process knows; made if there is none."""
        known = self._known_active()
        if known is not None:
            return known
        _refuse_in_transaction(None, "to seal")
        return self._lookups.run("active", self._look_up_active)

    def fetch(self, key_id: str | None, *, why: str) -> None:
        """Have a key at hand, for minutes: what ``KeyNotAtHand`` asked for.

        Args:
            key_id, why: see there.

        Raises:
            SealBroken, KeyUnavailable, Transient: it is not to be had.
        """
        self._data_key(key_id or self.active_key_id(), why)

    def replace_active(self, expected: str | None) -> str:
        """Make a new active key in place of ``expected`` (None: of none), which opens on and seals no more.

        Returns:
            The active key's id: the new one, or one that somebody else has put there meanwhile.
        """
        _refuse_in_transaction(None, "to make a new one")
        key_id = new_id("key")
        wrapped = self.provider.wrap(key_id=key_id, data_key=os.urandom(DATA_KEY_BYTES))
        with self._transaction() as db:
            # Two processes that start on an empty database, or rotate at once, must agree on one key.
            db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            active = db.scalar(select(EncryptionKey.id).where(EncryptionKey.state == "active"))
            if active is not None and active != expected:
                return active
            now = utc_now()
            if active is not None:
                self._retire(db, active, now)
            self._add(db, wrapped, now)
        return key_id

    def known_wrapping_keys(self) -> frozenset[str]:
        """The wrapping keys that are ours: the one that wraps now, and those that the database's own keys name.

        Raises:
            KeyUnavailable, Transient: the one that wraps cannot be asked.
        """
        probe = self.provider.wrap(key_id="which-wrapping-key", data_key=os.urandom(DATA_KEY_BYTES))
        with self._transaction() as db:
            known = db.scalars(select(EncryptionKey.wrapping_key_id).distinct()).all()
        return frozenset({probe.wrapping_key_id, *known})

    def forget(self) -> None:
        """Drop every unwrapped key, and which one is active; the next use reads again."""
        with self._lock:
            self._data_keys = {}
            self._active = None

    def _known_active(self) -> str | None:
        active = self._active
        return active.key_id if active is not None and active.until > self._monotonic() else None

    def _look_up_active(self) -> str:
        if (known := self._known_active()) is not None:
            return known  # the look-up before this one has just ended
        until = self._monotonic() + self._active_seconds  # from before the reading: what is read only gets older
        with self._transaction() as db:
            key_id = db.scalar(select(EncryptionKey.id).where(EncryptionKey.state == "active"))
        if key_id is None:
            key_id = self.replace_active(None)
        with self._lock:
            self._active = _ActiveKey(key_id, until)
        return key_id

    def _retire(self, db: DatabaseSession, key_id: str, now: datetime) -> None:
        db.execute(
            update(EncryptionKey).where(EncryptionKey.id == key_id).values(state="retiring", state_changed_at=now)
        )
        record_event(db, tenant_id=None, actor=self._actor, action="key.retiring", subject=key_id)
        db.flush()

    def _add(self, db: DatabaseSession, wrapped: WrappedKey, now: datetime) -> None:
        db.add(
            EncryptionKey(
                id=wrapped.key_id,
                state="active",
                provider=wrapped.provider,
                wrapping_key_id=wrapped.wrapping_key_id,
                wrapped_key=wrapped.ciphertext,
                created_at=now,
                state_changed_at=now,
            )
        )
        record_event(db, tenant_id=None, actor=self._actor, action="key.created", subject=wrapped.key_id)

    def _data_key(self, key_id: str, why: str) -> bytes:
        cached = self._cached(key_id)
        if cached is not None:
            return cached
        _refuse_in_transaction(key_id, why)  # to wait for another thread's unwrap takes as long as one's own
        return self._unwraps.run(key_id, lambda: self._fetch(key_id, why))

    def _fetch(self, key_id: str, why: str) -> bytes:
        if (cached := self._cached(key_id)) is not None:
            return cached  # the fetch before this one has just ended
        data_key = self._unwrap(key_id, why)
        self._keep(key_id, data_key)
        return data_key

    def _cached(self, key_id: str) -> bytes | None:
        kept = self._data_keys.get(key_id)
        return kept.data_key if kept is not None and kept.until > self._monotonic() else None

    def _keep(self, key_id: str, data_key: bytes) -> None:
        with self._lock:
            # A new dict each time, so that who reads without the lock never sees one that changes.
            self._data_keys = self._data_keys | {key_id: _DataKey(data_key, self._monotonic() + self._cache_seconds)}
        # Also in a process that has nothing to do from here on.
        timer = threading.Timer(self._cache_seconds, self._drop_what_ran_out)
        timer.daemon = True
        timer.start()

    def _drop_what_ran_out(self) -> None:
        now = self._monotonic()
        with self._lock:
            self._data_keys = {key_id: kept for key_id, kept in self._data_keys.items() if kept.until > now}

    def _unwrap(self, key_id: str, why: str) -> bytes:
        with self._transaction() as db:
            row = db.get(EncryptionKey, key_id)
        if row is None:
            raise SealBroken(f"There is no key {key_id}; restore it from a backup.")
        if row.wrapped_key is None:
            raise SealBroken(f"Key {key_id} was destroyed; what it sealed is gone.")
        return self.unwrap(WrappedKey(key_id, row.provider, row.wrapping_key_id, row.wrapped_key), why)

    def unwrap(self, wrapped: WrappedKey, why: str) -> bytes:
        """Unwrap a key that need not be in the database, past the cache; audited like every unwrap.

        Args:
            why: for the audit, as in ``to open the session of ses_…``.

        Raises:
            SealBroken, KeyUnavailable, Transient: see ``KeyProvider.unwrap``.
        """
        _refuse_in_transaction(wrapped.key_id, why)
        data_key = self.provider.unwrap(wrapped)
        with self._transaction() as db:
            record_event(
                db,
                tenant_id=None,
                actor=self._actor,
                action="key.unwrapped",
                subject=wrapped.key_id,
                reason=why,
                details={"provider": wrapped.provider, "wrapping_key_id": wrapped.wrapping_key_id},
            )
        self._metrics.key_unwraps.inc()
        return data_key


@contextmanager
def only_at_hand() -> Iterator[None]:
    """Refuse to ask for keys in a block, as inside a transaction: for whoever must not wait, an event loop say.

    Raises (inside the block):
        KeyNotAtHand: a key has to be asked for.
    """
    before = _only_at_hand.set(True)
    try:
        yield
    finally:
        _only_at_hand.reset(before)


def _refuse_in_transaction(key_id: str | None, why: str) -> None:
    if in_transaction() or _only_at_hand.get():
        raise KeyNotAtHand(key_id, why)
