"""One run at a time: a lock in PostgreSQL that goes when its process does."""

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
    with unavailable_when_away(), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        mine = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _ADVISORY_LOCK}))
        try:
            yield mine
        finally:
            if mine:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _ADVISORY_LOCK})
