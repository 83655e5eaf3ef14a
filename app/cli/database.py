"""The parts of a command's process: settings, and a database that is closed when the command ends."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from app.database import Transaction, make_engine, make_transaction
from app.settings import DatabaseSettings, load_settings


def cli_actor() -> str:
    """How the audit names whoever sits at the command line."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's numeric user has no name
        return "cli"


@contextmanager
def open_engine(settings: DatabaseSettings | None = None, *, as_owner: bool = False) -> Iterator[Engine]:
    """An engine for as long as the command runs.

    Args:
        as_owner: as the role that owns the tables, if it is another one.
    """
    settings = settings or load_settings()
    url = settings.database_owner_url if as_owner and settings.database_owner_url else settings.database_url
    engine = make_engine(url, pool_size=1)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def open_transactions() -> Iterator[Transaction]:
    """The transaction scope for as long as the command runs."""
    with open_engine() as engine:
        yield make_transaction(engine)
