"""The plan of a restore: for each session, its backups from the newest back, as the bucket lists them and as manifests say.

Kept in a temporary table of PostgreSQL, so that memory does not grow with the number of sessions and nothing is left behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    Index,
    MetaData,
    Table,
    Text,
    TextClause,
    distinct,
    func,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert

from app.backups.names import ObjectName, parse_name
from app.database import unavailable_when_away

_PAGE = 1000

_plan = Table(
    "restore_plan",
    MetaData(),
    Column("object_key", Text, primary_key=True),
    Column("session_id", Text, nullable=False),
    Column("backed_up_at", DateTime(timezone=True), nullable=False),
    Column("listed", Boolean, nullable=False),
    Index("ix_restore_plan_session_id", "session_id"),
    prefixes=["TEMPORARY"],
)


class Candidate(NamedTuple):
    """An object that a session could be restored from; not listed: a manifest says so and the bucket has it no more."""

    name: ObjectName
    listed: bool


class RestorePlan:
    """See the module; made by ``open_plan``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, names: Iterable[ObjectName], *, listed: bool) -> int:
        """Add objects; one that is in the plan stays as it is, so add what is listed first. Returns how many were given."""
        count, names = 0, iter(names)
        while page := list(islice(names, _PAGE)):
            rows = [
                {
                    "object_key": name.object_key,
                    "session_id": name.session_id,
                    "backed_up_at": name.backed_up_at,
                    "listed": listed,
                }
                for name in page
            ]
            self._connection.execute(insert(_plan).on_conflict_do_nothing(), rows)
            count += len(page)
        return count

    def ask(self, query: TextClause, **parameters: object) -> list[str]:
        """The first column of a query that may name the plan, ``restore_plan``."""
        return list(self._connection.scalars(query, parameters))

    def count_sessions(self, at: datetime | None) -> int:
        """Count the sessions that had a backup at a time (None: now)."""
        return self._connection.scalar(select(func.count(distinct(_plan.c.session_id))).where(_until(at))) or 0

    def pages(self, at: datetime | None, *, limit: int) -> Iterator[list[list[Candidate]]]:
        """Yield pages of sessions, each as its candidates at a time (None: now), the newest first."""
        # PostgreSQL does not look at temporary tables by itself, and would read the whole of it for each page.
        self._connection.execute(text(f"ANALYZE {_plan.name}"))
        after = ""
        newest_first = aggregate_order_by(_plan.c.object_key, _plan.c.backed_up_at.desc())
        while True:
            rows = self._connection.execute(
                select(
                    _plan.c.session_id,
                    func.array_agg(newest_first),
                    func.array_agg(aggregate_order_by(_plan.c.listed, _plan.c.backed_up_at.desc())),
                )
                .where(_until(at), _plan.c.session_id > after)
                .group_by(_plan.c.session_id)
                .order_by(_plan.c.session_id)
                .limit(limit)
            ).all()
            if not rows:
                return
            after = rows[-1][0]
            yield [_candidates(object_keys, listed) for _, object_keys, listed in rows]


@contextmanager
def open_plan(engine: Engine) -> Iterator[RestorePlan]:
    """An empty plan, in a transaction of its own, for a block: behind a pooler that is all that keeps a temporary table.

    Raises:
        Unavailable: PostgreSQL is away.
    """
    with unavailable_when_away(), engine.connect() as connection, connection.begin() as transaction:
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        _plan.create(connection)
        try:
            yield RestorePlan(connection)
        finally:
            transaction.rollback()  # and so the table is gone


def _until(at: datetime | None) -> ColumnElement[bool]:
    return true() if at is None else _plan.c.backed_up_at <= at


def _candidates(object_keys: list[str], listed: list[bool]) -> list[Candidate]:
    names = (parse_name(object_key) for object_key in object_keys)
    return [Candidate(name, there) for name, there in zip(names, listed, strict=True) if name is not None]
