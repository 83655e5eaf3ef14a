"""A database of its own, with sessions that are sealed for their places: what benchmarks of custody work on."""

from __future__ import annotations

import base64
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import Engine, text

from app.database import Transaction, make_engine, make_transaction, make_unpooled_engine
from app.metrics import make_metrics
from app.migrations import migrate
from app.models import Tenant
from app.vault.keyring import KeyRing
from app.vault.places import session_place
from app.vault.providers import LocalKeyProvider
from devstack.files import kept_secret
from devstack.ports import free_port
from devstack.postgres import prepare_postgres, remove_postgres
from devstack.programs import running

TENANT = "alice"
STRING_SESSION = "1" + base64.urlsafe_b64encode(os.urandom(263)).decode()
_COPY_ROWS = 5000
_COLUMNS = "id, tenant_id, telegram_user_id, dc_id, status, key_id, session_sealed, auth_key_hash, next_validation_at"


@dataclass(frozen=True)
class Custody:
    """The database, and what seals in it."""

    database_url: str
    key_file: Path
    engine: Engine
    transaction: Transaction
    keyring: KeyRing

    def seed(self, sessions: int, *, first: int = 0) -> None:
        """Add connected sessions of one tenant, each sealed for its place."""
        with self.transaction() as db:
            if db.get(Tenant, TENANT) is None:
                db.add(Tenant(id=TENANT, name="Alice"))
        for start in range(first, first + sessions, _COPY_ROWS):
            rows = range(start, min(first + sessions, start + _COPY_ROWS))
            copy = io.StringIO("".join(self._row(number) for number in rows))
            with self.engine.begin() as connection:
                cursor = connection.connection.cursor()
                cursor.copy_expert(f"COPY sessions ({_COLUMNS}) FROM STDIN", copy)
        self.vacuum()

    def vacuum(self) -> None:
        """Leave the table as autovacuum would, sooner or later."""
        with self.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE sessions"))

    def server_cpu_seconds(self) -> float:
        """What PostgreSQL has used, those of its processes that have ended as well."""
        with self.engine.connect() as connection:
            backend = psutil.Process(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
        server = backend.parents()[0]  # the others are its children
        return float(sum(server.cpu_times()[:4]) + sum(sum(each.cpu_times()[:2]) for each in server.children()))

    def _row(self, number: int) -> str:
        session_id = f"ses_{number:020d}"
        sealed = self.keyring.seal(session_place(TENANT, session_id), STRING_SESSION.encode())
        ciphertext, fingerprint = rf"\\x{sealed.ciphertext.hex()}", rf"\\x{os.urandom(32).hex()}"
        columns = (session_id, TENANT, number + 1, 2, "active", sealed.key_id, ciphertext, fingerprint, "2100-01-01")
        return "\t".join(map(str, columns)) + "\n"


def open_custody(database_url: str, key_file: Path) -> Custody:
    """Connect to a database that is there, as another process of the same installation does."""
    engine = make_engine(database_url)
    keyring = KeyRing(
        transaction=make_transaction(make_unpooled_engine(database_url)),
        provider=LocalKeyProvider(key_file),
        metrics=make_metrics(),
        actor="bench",
    )
    return Custody(database_url, key_file, engine, make_transaction(engine), keyring)


@contextmanager
def custody() -> Iterator[Custody]:
    """Start PostgreSQL for the length of the block, with nothing in it yet."""
    folder = Path(tempfile.mkdtemp(prefix="latchkey-bench-"))
    folder.chmod(0o711)  # a run as root hands the server to an account that has to walk through
    server = prepare_postgres(folder, port=free_port(), log=folder / "postgres.log")
    key_file = folder / "key"
    kept_secret(key_file, make=lambda: base64.b64encode(os.urandom(32)).decode())
    try:
        with running(server.program):
            server.create_database("bench")
            opened = open_custody(server.url("bench"), key_file)
            migrate(opened.engine)
            yield opened
            opened.engine.dispose()
    finally:
        remove_postgres(folder)
