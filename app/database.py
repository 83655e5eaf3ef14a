"""The engine and the transaction scope. An SQLAlchemy session is always called ``db``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, NullPool, create_engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session as DatabaseSession

from app.errors import Unavailable

Transaction = Callable[[], AbstractContextManager[DatabaseSession]]
"""Opens a transaction: commits when the block ends well, rolls back when it raises."""


_STATEMENT_SECONDS = 30
_LOCK_SECONDS = 10  # whoever waits that long for a row hears Unavailable, and comes again
_IDLE_IN_TRANSACTION_SECONDS = 30  # a process that was stopped inside a transaction lets its locks go


@dataclass
class _Whole:
    """A transaction that takes in those of a block, and what waits for its commit."""

    engine: Engine
    connection: Connection
    after_commit: list[Callable[[], object]] = field(default_factory=list)


_whole_here: ContextVar[_Whole | None] = ContextVar("the transaction that takes in others", default=None)
_open_here: ContextVar[bool] = ContextVar("a transaction is open here", default=False)


def make_engine(database_url: str, *, pool_size: int = 8, statement_seconds: int = _STATEMENT_SECONDS) -> Engine:
    """Make the process's engine.

    A connection that PostgreSQL dropped (a restart) is replaced before use; a server that accepts and stays silent is
    given up after 5 s, a statement after ``statement_seconds``, so that no caller hangs for ever.
    """
    return create_engine(
        database_url,
        pool_size=pool_size,
        max_overflow=4,
        pool_timeout=10,
        pool_pre_ping=True,
        hide_parameters=True,  # an error's message goes to the log
        pool_recycle=1800,
        connect_args=_connect_args(statement_seconds),
    )


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
