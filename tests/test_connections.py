"""The pool: a connection that PostgreSQL ended costs nobody an answer. Single reads: by a key, as the reader may see them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, select, text

from app.core import Core
from app.database import KEYS, make_engine, make_read_row, make_transaction, one_transaction
from app.models import Tenant

_NAME = select(Tenant.id, Tenant.name).where(Tenant.id == KEYS)


@pytest.fixture(params=[False, True], ids=["transactions", "single reads"])
def engine(core: Core, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine of either kind, with one connection of which this test's own can know."""
    made = make_engine(core.settings.database_url, pool_size=0, autocommit=request.param)
    yield made
    made.dispose()


def backend(engine: Engine) -> int:
    """The process at PostgreSQL that serves the pool's next connection."""
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())


def end_backend(core: Core, pid: int) -> None:
    """End a process at PostgreSQL, and see it gone."""
    with core.transaction() as db:
        assert db.scalar(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})


def test_a_connection_that_was_ended_costs_nobody_an_answer(core: Core, engine: Engine) -> None:
    """Used a moment ago, and ended since: the next one who needs a connection gets another."""
    for _ in range(3):
        pid = backend(engine)
        end_backend(core, pid)
        assert backend(engine) != pid


def test_a_row_is_read_by_its_key(core: Core) -> None:
    """As it is committed; or None."""
    row = core.read_row(_NAME, "alice")
    assert row is not None
    assert row.name == "Alice"
    assert core.read_row(_NAME, "nobody") is None


def test_a_row_is_read_as_its_reader_wrote_it(core: Core) -> None:
    """Inside ``one_transaction`` a single read sees what the block has written, which nobody else does."""
    engine = make_engine(core.settings.database_url, pool_size=1)
    alone = make_engine(core.settings.database_url, pool_size=1, autocommit=True)
    read_row, transaction = make_read_row(engine, alone=alone), make_transaction(engine)
    with one_transaction(engine):
        with transaction() as db:
            db.add(Tenant(id="carol", name="Carol"))
        assert read_row(_NAME, "carol") is not None
        assert core.read_row(_NAME, "carol") is None
    assert core.read_row(_NAME, "carol") is not None
    engine.dispose()
    alone.dispose()
