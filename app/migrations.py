"""Bringing the database to the schema of ``app.models``, by the migrations of ``migrations/``.

Commands and the stack run it themselves; an advisory lock lets any number of them start at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from app.models import Base

_SCRIPTS = Path(__file__).resolve().parent.parent / "migrations"
_ADVISORY_LOCK = 7_462_011_903  # any fixed number: only migrations take it


def migrate(engine: Engine) -> str:
    """Apply what is missing and return the revision that stands then. Safe to run from many processes at once."""
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '120s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        command.upgrade(_config(connection), "head")
        return current_revision(connection) or "none"


def new_revision(engine: Engine, message: str) -> None:
    """Write a new migration from the difference between the models and this (migrated) database."""
    with engine.begin() as connection:
        command.revision(_config(connection), message=message, autogenerate=True)


def drift(engine: Engine) -> list[Any]:
    """List Alembic's differences between the models and a migrated database; empty when they agree."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, Base.metadata))


def current_revision(connection: Connection) -> str | None:
    """The revision that the database is at, or None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def head_revision() -> str | None:
    """The newest revision in ``migrations/``."""
    return ScriptDirectory.from_config(_config(None)).get_current_head()


def is_behind(revision: str | None, *, head: str | None) -> bool:
    """Whether a database at this revision lacks some of this version's migrations.

    One that ``migrations/`` does not have is newer: the old version serves on while the new one rolls out.
    """
    return revision is None or (revision != head and _is_known(revision))


def _is_known(revision: str) -> bool:
    return any(script.revision == revision for script in ScriptDirectory.from_config(_config(None)).walk_revisions())


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes["connection"] = connection
    return config
