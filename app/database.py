"""The engine and the transaction scope. An SQLAlchemy session is always called ``db``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from psycopg2 import OperationalError as ConnectionDied
from sqlalchemy import (
    ARRAY,
    Connection,
    Engine,
    Executable,
    LargeBinary,
    NullPool,
    Row,
    Select,
    Text,
    any_,
    bindparam,
    create_engine,
    event,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session as DatabaseSession
from sqlalchemy.pool import ConnectionPoolEntry

from app.errors import Unavailable
from app.together import Together

Transaction = Callable[[], AbstractContextManager[DatabaseSession]]
"""Opens a transaction: commits when the block ends well, rolls back when it raises."""

ReadRow = Callable[[Select[*tuple[Any, ...]], str | bytes], Row[*tuple[Any, ...]] | None]
"""Reads a row by its key, which is the statement's first column: in one round trip, and as few for many who ask at once."""

WriteRow = Callable[..., Row[*tuple[Any, ...]] | None]
"""Carries out a statement, with its parameters by name, that is a transaction of its own; answers its row, if it has one."""

ReadRows = Callable[[Select[*tuple[Any, ...]], list[str]], dict[str, Row[*tuple[Any, ...]]]]
"""Reads rows by their keys, as ``ReadRow``; those that there are, by key."""

KEYS = any_(bindparam("keys", type_=ARRAY(Text)))
BYTES_KEYS = any_(bindparam("keys", type_=ARRAY(LargeBinary)))
"""What a statement for ``ReadRow`` compares its key with: a text, or bytes."""


_STATEMENT_SECONDS = 30
_LOCK_SECONDS = 10  # whoever waits that long for a row hears Unavailable, and comes again
_IDLE_IN_TRANSACTION_SECONDS = 30  # a process that was stopped inside a transaction lets its locks go
_SPARE_CONNECTIONS = (
    4  # kept as well: what overflows a pool is opened and closed for each use, which costs more than the use
)
_PING_AFTER_SECONDS = 5.0  # of idleness: a network that forgot a connection says nothing, so it is asked


@dataclass
class _Whole:
    """A transaction that takes in those of a block, and what waits for its commit."""

    engine: Engine
    connection: Connection
    after_commit: list[Callable[[], object]] = field(default_factory=list)


_whole_here: ContextVar[_Whole | None] = ContextVar("the transaction that takes in others", default=None)
_open_here: ContextVar[bool] = ContextVar("a transaction is open here", default=False)


def make_engine(
    database_url: str,
    *,
    pool_size: int = 8,
    statement_seconds: int = _STATEMENT_SECONDS,
    autocommit: bool = False,
) -> Engine:
    """Make the process's engine.

    A connection that PostgreSQL dropped (a restart) is replaced before use; a server that accepts and stays silent is
    given up after 5 s, a statement after ``statement_seconds``, so that no caller hangs for ever.

    Args:
        autocommit: each statement is a transaction of its own, which spares it two round trips.
    """
    engine = create_engine(
        database_url,
        pool_size=pool_size + _SPARE_CONNECTIONS,
        max_overflow=0,
        pool_timeout=10,
        pool_use_lifo=True,  # what was used last is the least likely to have died since
        hide_parameters=True,  # an error's message goes to the log
        pool_recycle=1800,
        connect_args=_connect_args(statement_seconds),
        **({"isolation_level": "AUTOCOMMIT"} if autocommit else {}),
    )
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", partial(_refuse_dead, engine.dialect.do_ping))
    return engine


def _note_use(_connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.info["used_at"] = time.monotonic()


def _refuse_dead(
    ping: Callable[[DBAPIConnection], bool], connection: DBAPIConnection, record: ConnectionPoolEntry, _: object
) -> None:
    """Make sure that a connection lives, without a round trip if it was used a moment ago.

    A server that ends a connection says so on it, and to read what has come in costs no waiting.

    Raises:
        InvalidatePoolError: it is dead, so the others that are idle may be as well; the pool opens a new one.
    """
    used_at = record.info.get("used_at")
    if used_at is None:
        return  # it was opened just now
    try:
        connection.poll()
        connection.poll()  # the first may have read the server's last words only, and not yet the end
        if time.monotonic() - used_at > _PING_AFTER_SECONDS:
            ping(connection)
    except ConnectionDied as exc:
        raise InvalidatePoolError from exc


def make_unpooled_engine(database_url: str) -> Engine:
    """Make an engine with the same bounds that opens a connection for each use and never waits for one.

    For rare, short transactions inside somebody else's: from the same pool they could wait for connections whose holders
    wait for them.
    """
    return create_engine(
        database_url, poolclass=NullPool, hide_parameters=True, connect_args=_connect_args(_STATEMENT_SECONDS)
    )


def session_settings(statement_seconds: int = _STATEMENT_SECONDS) -> dict[str, str]:
    """What PostgreSQL is told for each connection. A pooler drops it, and the role's own settings hold: ``app.grants``."""
    return {
        "timezone": "UTC",
        "statement_timeout": f"{statement_seconds * 1000}",
        "lock_timeout": f"{_LOCK_SECONDS * 1000}",
        "idle_in_transaction_session_timeout": f"{_IDLE_IN_TRANSACTION_SECONDS * 1000}",
    }


def _connect_args(statement_seconds: int) -> dict[str, object]:
    return {
        "connect_timeout": 5,
        "application_name": "latchkey",
        "keepalives_idle": 30,
        "options": " ".join(f"-c {name}={value}" for name, value in session_settings(statement_seconds).items()),
    }


def make_transaction(engine: Engine) -> Transaction:
    """Bind the transaction scope to an engine.

    Raises (inside the scope):
        Unavailable: PostgreSQL cannot be reached; nothing was written.
    """

    @contextmanager
    def transaction() -> Iterator[DatabaseSession]:
        whole = _whole_here.get()
        inside = whole is not None and whole.engine is engine
        # A session of its own in either case: it remembers no row from a transaction before.
        session = (
            DatabaseSession(whole.connection, expire_on_commit=False, join_transaction_mode="create_savepoint")
            if inside and whole is not None
            else DatabaseSession(engine, expire_on_commit=False)
        )
        with unavailable_when_away(), _marked(), session as db, db.begin():
            yield db

    return transaction


def make_read_rows(alone: Engine) -> ReadRows:
    """Make reads of many rows, of what is committed.

    Args:
        alone: its connections commit by themselves.

    Raises (when called):
        Unavailable: PostgreSQL cannot be reached.
    """

    def read_rows(statement: Select[*tuple[Any, ...]], keys: list[str]) -> dict[str, Row[*tuple[Any, ...]]]:
        with unavailable_when_away(), alone.connect() as connection:
            return {row[0]: row for row in connection.execute(statement, {"keys": keys})}

    return read_rows


def make_write_row(engine: Engine, *, alone: Engine) -> WriteRow:
    """Make single statements that write, in one round trip instead of three.

    Args:
        engine: whose ``one_transaction`` a writer may be in, which the statement is then a part of.
        alone: its connections commit by themselves.

    Raises (when called):
        Unavailable: PostgreSQL cannot be reached.
    """

    def write_row(statement: Executable, **parameters: object) -> Row[*tuple[Any, ...]] | None:
        whole = _whole_here.get()
        with unavailable_when_away():
            if whole is not None and whole.engine is engine:
                return whole.connection.execute(statement, parameters).one_or_none()
            with alone.connect() as connection:
                return connection.execute(statement, parameters).one_or_none()

    return write_row


def make_read_row(engine: Engine, *, alone: Engine) -> ReadRow:
    """Make reads of single rows: of what is committed, or written by the ``one_transaction`` that the reader is in.

    Args:
        engine: whose transactions a reader may be in.
        alone: its connections commit by themselves; there is one read of each statement at a time.

    Raises (when called):
        Unavailable: PostgreSQL cannot be reached.
    """
    reads: dict[Select[*tuple[Any, ...]], Together[str | bytes, Row[*tuple[Any, ...]] | None]] = {}

    def read_rows(statement: Select[*tuple[Any, ...]], keys: list[str | bytes]) -> list[Row[*tuple[Any, ...]] | None]:
        with alone.connect() as connection:
            rows = {row[0]: row for row in connection.execute(statement, {"keys": keys})}
        return [rows.get(key) for key in keys]

    def read_row(statement: Select[*tuple[Any, ...]], key: str | bytes) -> Row[*tuple[Any, ...]] | None:
        whole = _whole_here.get()
        with unavailable_when_away():
            if whole is not None and whole.engine is engine:
                return whole.connection.execute(statement, {"keys": [key]}).one_or_none()
            together = reads.get(statement) or reads.setdefault(statement, Together(partial(read_rows, statement)))
            return together.ask(key)

    return read_row


@contextmanager
def one_transaction(engine: Engine) -> Iterator[None]:
    """Make the transactions of a block one: they become savepoints of it, and what they wrote is committed together, or not.

    For what must be stored with the effect of a call that knows nothing of it. Inside, ``in_transaction`` holds all the time:
    who needs a key that is not at hand hears ``KeyNotAtHand``, and the whole block has to be run again.

    Raises (at its end):
        Unavailable: PostgreSQL went away; nothing was written.
    """
    with unavailable_when_away(), _marked(), engine.connect() as connection, connection.begin():
        whole = _Whole(engine, connection)
        before = _whole_here.set(whole)
        try:
            yield
        finally:
            _whole_here.reset(before)
    for action in whole.after_commit:
        action()


def after_commit(action: Callable[[], object]) -> bool:
    """Keep what tells others of a commit until there is one: in a block of ``one_transaction``, to its end.

    Returns:
        False: there is no such block, and nothing was kept: what is to be told has been committed.
    """
    whole = _whole_here.get()
    if whole is not None:
        whole.after_commit.append(action)
    return whole is not None


def in_transaction() -> bool:
    """Whether the caller (this thread, greenlet or asyncio task) is inside a transaction's block.

    What may take seconds (a key provider, say) refuses to run there: a transaction holds row locks and a connection that
    others wait for.
    """
    return _open_here.get()


@contextmanager
def _marked() -> Iterator[None]:
    before = _open_here.set(True)
    try:
        yield
    finally:
        _open_here.reset(before)


@contextmanager
def unavailable_when_away() -> Iterator[None]:
    """Turn what tells that PostgreSQL is away into ``Unavailable``, for a block or (as a decorator) a function.

    Raises (inside the block):
        Unavailable: PostgreSQL cannot be reached.
    """
    try:
        yield
    except (OperationalError, PoolTimeout) as exc:
        raise Unavailable("The database cannot be reached; try again.") from exc
    except DBAPIError as exc:
        if exc.connection_invalidated:
            raise Unavailable("The database went away; try again.") from exc
        raise
