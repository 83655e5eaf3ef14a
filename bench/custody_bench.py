"""Custody at 100,000 sessions: rotation and the backup's listing, in rows a second, memory and query plans.

Peers: rotation row by row, a transaction each, as a simple script would do it; and ``MultiFernet.rotate``, which is what
``cryptography`` offers for re-sealing a value, without binding it to its place.
"""

from __future__ import annotations

import base64
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
from cryptography.fernet import Fernet, MultiFernet
from sqlalchemy import Engine, Select, TextClause, insert, select, text, update

from app.backups.due import find_due
from app.database import Transaction, make_engine, make_transaction, make_unpooled_engine
from app.metrics import make_metrics
from app.migrations import migrate
from app.models import EncryptionKey, TelegramSession, Tenant
from app.vault.keyring import KeyRing
from app.vault.places import session_place
from app.vault.providers import LocalKeyProvider
from app.vault.rotation import rotate_keys
from app.vault.sealing import Sealed
from devstack.ports import free_port
from devstack.postgres import prepare_postgres, remove_postgres
from devstack.programs import running

SESSIONS = int(os.environ.get("CUSTODY_BENCH_SESSIONS", "100000"))
_PEER_ROWS = 2000
_SEED_BATCH = 2000
_LISTING_BATCH = 500
_STRING = "1" + base64.urlsafe_b64encode(os.urandom(263)).decode()


def run() -> dict[str, float | int | str]:
    """Measure; see the module."""
    with _database() as database_url:
        engine = make_engine(database_url)
        transaction = make_transaction(engine)
        keyring = _make_ring(database_url)
        figures: dict[str, float | int | str] = {"sessions": SESSIONS, "cores": os.cpu_count() or 0}
        figures["seeding: sealed rows a second"] = _seed(transaction, keyring)
        with engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE"))
        figures |= _plans(engine)
        figures |= _measure("listing for the backup", lambda: _list_due(transaction))
        figures |= _measure("rotation", lambda: _rotate(transaction, keyring))
        figures["peer, rotation row by row: rows a second"] = _rotate_row_by_row(transaction, keyring)
        figures |= _values(keyring)
        engine.dispose()
    return figures


@contextmanager
def _database() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="latchkey-bench-"))
    folder.chmod(0o711)  # a run as root hands the server to an account that has to walk through
    server = prepare_postgres(folder, port=free_port(), log=folder / "postgres.log")
    try:
        with running(server.program):
            server.create_database("bench")
            engine = make_engine(server.url("bench"))
            migrate(engine)
            engine.dispose()
            yield server.url("bench")
    finally:
        remove_postgres(folder)


def _make_ring(database_url: str) -> KeyRing:
    with tempfile.NamedTemporaryFile() as key_file:
        key_file.write(base64.b64encode(os.urandom(32)))
        key_file.flush()
        provider = LocalKeyProvider(Path(key_file.name))
    transaction = make_transaction(make_unpooled_engine(database_url))
    return KeyRing(transaction=transaction, provider=provider, metrics=make_metrics(), actor="bench")


def _seed(transaction: Transaction, keyring: KeyRing) -> float:
    began = time.perf_counter()
    with transaction() as db:
        db.add(Tenant(id="alice", name="Alice"))
    for start in range(0, SESSIONS, _SEED_BATCH):
        rows = [_row(keyring, number) for number in range(start, min(SESSIONS, start + _SEED_BATCH))]
        with transaction() as db:
            db.execute(insert(TelegramSession), rows)
    return SESSIONS / (time.perf_counter() - began)


def _row(keyring: KeyRing, number: int) -> dict[str, Any]:
    session_id = f"ses_{number:020d}"
    sealed = keyring.seal(session_place("alice", session_id), _STRING.encode())
    return {
        "id": session_id,
        "tenant_id": "alice",
        "telegram_user_id": number,
        "dc_id": 2,
        "status": "active",
        "key_id": sealed.key_id,
        "session_sealed": sealed.ciphertext,
    }


def _plans(engine: Engine) -> dict[str, str]:
    """How PostgreSQL finds a batch, with almost everything done: an index, or the figure says so."""
    key_id = select(EncryptionKey.id).limit(1).scalar_subquery()
    due = TelegramSession.backed_up_version.is_distinct_from(TelegramSession.version)
    statements: dict[str, Select[Any]] = {
        "plan of a re-sealing batch": select(TelegramSession.id)
        .where(TelegramSession.key_id == key_id, TelegramSession.id > "ses_00000000000000050000")
        .order_by(TelegramSession.id)
        .limit(500),
        "plan of a backup's batch": select(TelegramSession.id)
        .where(due, TelegramSession.id > "ses_00000000000000050000")
        .order_by(TelegramSession.id)
        .limit(500),
    }
    with engine.connect() as connection:
        return {
            name: _plan(connection.execute(_explain(engine, statement)).all()) for name, statement in statements.items()
        }


def _explain(engine: Engine, statement: Select[Any]) -> TextClause:
    sql = statement.compile(dialect=engine.dialect, compile_kwargs={"literal_binds": True})
    return text(f"EXPLAIN {sql}")


def _plan(lines: Any) -> str:
    scans = [
        line[0].split("(")[0].strip(" ->") for line in lines if "Scan" in line[0] and "encryption_keys" not in line[0]
    ]
    return "; ".join(scans)


def _list_due(transaction: Transaction) -> int:
    after, listed = "", 0
    while True:
        with transaction() as db:
            batch = find_due(db, after=after, limit=_LISTING_BATCH)
        if not batch:
            return listed
        after, listed = batch[-1].session.id, listed + len(batch)


def _rotate(transaction: Transaction, keyring: KeyRing) -> int:
    return rotate_keys(
        transaction=transaction, keyring=keyring, actor="bench", max_age=timedelta(days=1), force=True
    ).resealed


def _measure(what: str, work: Callable[[], int]) -> dict[str, float | int]:
    """Rows a second, and how much the process's memory grew at its highest."""
    process = psutil.Process()
    before = highest = process.memory_info().rss
    over = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not over.wait(0.02):
            highest = max(highest, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    try:
        rows = work()
    finally:
        over.set()
        watcher.join()
    seconds = time.perf_counter() - began
    return {
        f"{what}: rows": rows,
        f"{what}: rows a second": rows / seconds,
        f"{what}: memory grew by MiB": (highest - before) / 2**20,
    }


def _rotate_row_by_row(transaction: Transaction, keyring: KeyRing) -> float:
    new_key_id = keyring.replace_active(keyring.active_key_id())
    began = time.perf_counter()
    for number in range(_PEER_ROWS):
        with transaction() as db:
            row = db.get_one(TelegramSession, f"ses_{number:020d}", with_for_update=True)
            assert row.key_id is not None
            assert row.session_sealed is not None
            place = session_place(row.tenant_id, row.id)
            opened = keyring.open(place, Sealed(row.key_id, row.session_sealed))
            db.execute(
                update(TelegramSession)
                .where(TelegramSession.id == row.id)
                .values(key_id=new_key_id, session_sealed=keyring.seal_under_key(new_key_id, place, opened))
            )
    return _PEER_ROWS / (time.perf_counter() - began)


def _values(keyring: KeyRing) -> dict[str, float]:
    """Microseconds to re-seal one value, without the database."""
    place = session_place("alice", "ses_1")
    sealed = keyring.seal(place, _STRING.encode())
    both = MultiFernet([Fernet(Fernet.generate_key()), Fernet(Fernet.generate_key())])
    token = both.encrypt(_STRING.encode())

    def ours() -> None:
        keyring.seal_under_key(sealed.key_id, place, keyring.open(place, sealed))

    def theirs() -> None:
        both.rotate(token)

    return {
        "re-sealing a value: microseconds": _micros(ours),
        "peer, MultiFernet.rotate: microseconds": _micros(theirs),
    }


def _micros(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    for _ in range(_PEER_ROWS):
        work()
    return (time.perf_counter() - began) / _PEER_ROWS * 1e6
