"""The engine and the transaction scope. An SQLAlchemy session is always called ``db``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from sqlalchemy import Engine, NullPool, create_engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session as DatabaseSession

from app.errors import Unavailable

Transaction = Callable[[], AbstractContextManager[DatabaseSession]]
"""Opens a transaction: commits when the block ends well, rolls back when it raises."""


_STATEMENT_SECONDS = 30
_LOCK_SECONDS = 10  # whoever waits that long for a row hears Unavailable, and comes again
_IDLE_IN_TRANSACTION_SECONDS = 30  # a process that was stopped inside a transaction lets its locks go

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


def _connect_args(statement_seconds: int) -> dict[str, object]:
    limits = (
        f"-c statement_timeout={statement_seconds * 1000} -c lock_timeout={_LOCK_SECONDS * 1000} "
        f"-c idle_in_transaction_session_timeout={_IDLE_IN_TRANSACTION_SECONDS * 1000}"
    )
    return {
        "connect_timeout": 5,
        "application_name": "latchkey",
        "keepalives_idle": 30,
        "options": f"-c timezone=UTC {limits}",
    }


def make_transaction(engine: Engine) -> Transaction:
    """Bind the transaction scope to an engine.

    Raises (inside the scope):
        Unavailable: PostgreSQL cannot be reached; nothing was written.
    """

    @contextmanager
    def transaction() -> Iterator[DatabaseSession]:
        with unavailable_when_away(), _marked(), DatabaseSession(engine, expire_on_commit=False) as db, db.begin():
            yield db

    return transaction


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
