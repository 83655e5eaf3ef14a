"""One run at a time: a lock in PostgreSQL that goes when its process does.

It is a transaction's lock, not a connection's: behind a pooler another process would get the connection that holds the lock.
The transaction does nothing else, and holds no snapshot that would keep PostgreSQL from cleaning up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, text

from app.database import unavailable_when_away

_ADVISORY_LOCK = 7_462_011_905  # any fixed number: only runs of the backup and of its expiry take it


@contextmanager
def alone(engine: Engine) -> Iterator[bool]:
    """Hold the lock for a block, on a connection of its own; False when another run holds it. Never waits.

    Raises:
        Unavailable: PostgreSQL is away.
    """
    with unavailable_when_away(), engine.begin() as connection:
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield bool(connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK}))
