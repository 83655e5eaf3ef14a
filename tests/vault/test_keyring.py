"""The key ring: one active key for all, unwrapped keys kept for minutes, every unwrap audited."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Event

import pytest
from sqlalchemy import Engine, QueuePool, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as DatabaseSession

from app.database import make_engine, make_transaction
from app.errors import SealBroken, Transient
from app.models import EncryptionKey
from app.vault.keyring import KeyNotAtHand
from app.vault.sealing import Place
from app.vault.transact import transact
from app.vault.wrapping import WrappedKey
from tests.vault.vaults import ALICE, Vault, make_local_provider, make_ring, make_vault
from tests.waiting import wait_until

PLACE = Place("session", ALICE, "ses_1")


def test_processes_that_start_together_agree_on_one_key(vault: Vault) -> None:
    """On an empty database, many processes seal at once under one first key."""
    rings = [vault.another_process() for _ in range(6)]
    barrier = Barrier(len(rings))

    def seal(number: int) -> str:
        barrier.wait()
        return rings[number].seal(PLACE, b"").key_id

    with ThreadPoolExecutor(len(rings)) as threads:
        key_ids = set(threads.map(seal, range(len(rings))))
    assert len(key_ids) == 1
    with vault.transaction() as db:
        assert db.scalar(select(func.count()).select_from(EncryptionKey)) == 1


def test_many_threads_are_one_unwrap(vault: Vault) -> None:
    """A key that ran out is unwrapped once, however many threads want it, and the audit says by whom and why."""
    sealed = vault.keyring.seal(PLACE, b"secret")
    before = len(vault.events("key.unwrapped"))
    ring = vault.another_process()
    with ThreadPoolExecutor(16) as threads:
        opened = set(threads.map(lambda _: ring.open(PLACE, sealed), range(64)))
    assert opened == {b"secret"}
    events = vault.events("key.unwrapped")[before:]
    assert [(event.actor, event.subject, event.reason) for event in events] == [
        ("test", sealed.key_id, "to open the session of ses_1")
    ]


def test_a_provider_that_is_away_is_waited_for_once(vault: Vault) -> None:
    """Whoever waits for an unwrap hears of its failure with it: not one time limit after the other."""
    sealed = vault.keyring.seal(PLACE, b"secret")

    class Away:
        """A provider that takes its time to say that it is away."""

        name = "local"
        asked = 0

        def wrap(self, *, key_id: str, data_key: bytes) -> WrappedKey:
            raise Transient("away")

        def unwrap(self, wrapped: WrappedKey) -> bytes:
            self.asked += 1
            everybody_waits.wait(10)
            raise Transient("away")

    away, everybody_waits = Away(), Event()
    ring = make_ring(vault.database_url, away)
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(ring.open, PLACE, sealed) for _ in range(8)]
        wait_until(lambda: away.asked)
        everybody_waits.set()
        for future in waiting:
            with pytest.raises(Transient):
                future.result(10)
    assert away.asked < 8


def test_an_unwrapped_key_is_kept_for_minutes_only(vault: Vault) -> None:
    """After ``cache_seconds`` it is unwrapped anew, with an audit row of its own."""
    now = 0.0
    sealed = vault.keyring.seal(PLACE, b"secret")
    before = len(vault.events("key.unwrapped"))
    ring = vault.another_process(cache_seconds=300, monotonic=lambda: now)
    for now in (0.0, 299.0, 301.0):  # noqa: B007  # the ring's clock reads it
        ring.open(PLACE, sealed)
    assert len(vault.events("key.unwrapped")) == before + 2


def test_an_idle_process_forgets_its_keys(vault: Vault) -> None:
    """What ran out leaves the memory, whether anybody asks for a key again or not."""
    ring = vault.another_process(cache_seconds=0.2)
    ring.seal(Place("session", ALICE, "ses_1"), b"secret")
    assert ring._data_keys
    wait_until(lambda: not ring._data_keys, within_seconds=5)


class SlowProvider:
    """The vault's provider, which takes its time, and notes how many connections its callers hold then."""

    def __init__(self, vault: Vault, engine: Engine) -> None:
        self.name = vault.provider.name
        self.held: list[int] = []
        self._provider = vault.provider
        self._engine = engine

    def wrap(self, *, key_id: str, data_key: bytes) -> WrappedKey:
        """As the vault's."""
        self._take_time()
        return self._provider.wrap(key_id=key_id, data_key=data_key)

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """As the vault's."""
        self._take_time()
        return self._provider.unwrap(wrapped)

    def _take_time(self) -> None:
        pool = self._engine.pool
        assert isinstance(pool, QueuePool)
        time.sleep(0.5)  # what a slow KMS takes, at its best; whoever had begun has left its transaction by then
        self.held.append(pool.checkedout())


def test_no_transaction_is_open_while_a_key_is_fetched(vault: Vault) -> None:
    """A slow KMS holds no row lock and no pooled connection, and each of ten callers gets what it opens."""
    sealed = vault.keyring.seal(PLACE, b"secret")
    engine = make_engine(vault.database_url, pool_size=2)
    transaction, provider = make_transaction(engine), SlowProvider(vault, engine)
    ring = replace(vault, provider=provider).another_process()

    def read_and_open(db: DatabaseSession) -> bytes:
        db.execute(text("SELECT 1"))
        return ring.open(PLACE, sealed)

    with ThreadPoolExecutor(10) as threads:
        opened = threads.map(lambda _: transact(transaction, ring, read_and_open), range(10))
        assert list(opened) == [b"secret"] * 10
    assert provider.held == [0]
    engine.dispose()


def test_a_forgotten_place_is_found(vault: Vault) -> None:
    """Whoever seals or opens in a bare transaction, without the key at hand, hears so; the provider is not asked."""
    sealed = vault.keyring.seal(PLACE, b"secret")
    ring = vault.another_process()
    with pytest.raises(KeyNotAtHand), vault.transaction():
        ring.open(PLACE, sealed)
    with pytest.raises(KeyNotAtHand), vault.transaction():
        ring.seal(PLACE, b"secret")
    with vault.transaction():
        assert vault.keyring.open(PLACE, sealed) == b"secret"


def test_another_process_notices_a_new_active_key_within_its_limit(vault: Vault) -> None:
    """Until ``active_seconds`` are over it may seal under the old key, which opens; then it seals under the new one."""
    now = 0.0
    other = vault.another_process(active_seconds=60, monotonic=lambda: now)
    old = other.seal(PLACE, b"old")
    new_key_id = vault.keyring.replace_active(old.key_id)
    now = 59.0
    late = other.seal(PLACE, b"late")
    now = 61.0
    assert (late.key_id, other.seal(PLACE, b"new").key_id) == (old.key_id, new_key_id)
    assert [vault.keyring.open(PLACE, sealed) for sealed in (old, late)] == [b"old", b"late"]


def test_of_two_replacements_at_once_one_wins(vault: Vault) -> None:
    """Two processes that replace the same active key end with one new key, the same for both."""
    old = vault.keyring.active_key_id()
    barrier = Barrier(2)

    def replace(_: int) -> str:
        ring = vault.another_process()
        barrier.wait()
        return ring.replace_active(old)

    with ThreadPoolExecutor(2) as threads:
        key_ids = set(threads.map(replace, range(2)))
    with vault.transaction() as db:
        states = {key.id: key.state for key in db.scalars(select(EncryptionKey))}
    assert states == {old: "retiring", key_ids.pop(): "active"}
    assert not key_ids


def test_an_unwrap_that_cannot_be_audited_gives_no_key(migrated_database: Callable[[], str], tmp_path: Path) -> None:
    """No audit row, no key."""
    vault = make_vault(migrated_database(), make_local_provider(tmp_path))
    sealed = vault.keyring.seal(PLACE, b"secret")
    with vault.transaction() as db:
        db.execute(text("ALTER TABLE audit_events ADD CONSTRAINT no_more CHECK (action <> 'key.unwrapped') NOT VALID"))
    with pytest.raises(IntegrityError, match="no_more"):
        vault.another_process().open(PLACE, sealed)


def test_a_key_id_that_nobody_has_is_a_broken_seal(vault: Vault) -> None:
    """An unknown key is said with its id and what to do."""
    sealed = vault.keyring.seal(PLACE, b"secret")._replace(key_id="key_unknown")
    with pytest.raises(SealBroken, match="no key key_unknown"):
        vault.keyring.open(PLACE, sealed)
