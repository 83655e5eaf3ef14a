"""Real PostgreSQL and real Redis for every test, started once per run and only when a test asks for them.

A test gets a database of its own, copied from a migrated template, and an emptied Redis database.
"""

from __future__ import annotations

import gc
import itertools
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from app.core import Core
from app.database import make_engine, make_unpooled_engine
from app.migrations import migrate
from app.models import Base
from devstack.folder import remove_folder
from devstack.ports import free_port
from devstack.postgres import Postgres, prepare_postgres
from devstack.programs import running
from devstack.redis import redis_program
from devstack.redis import redis_url as make_redis_url
from sandbox.process import RunningSandbox, start_sandbox
from tests.builders import Sent, make_core, make_settings
from tests.distribution import (
    STACK_FOLDERS,
    pytest_addoption,
    pytest_configure,
    pytest_xdist_make_scheduler,
)

__all__ = ["pytest_addoption", "pytest_configure", "pytest_xdist_make_scheduler"]

_TEMPLATE = "template_latchkey"
_names = itertools.count(1)
_numbers = itertools.cycle(range(1, 16))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the fast tests first, where there is one process: a simple mistake is seen soon."""
    items.sort(key=lambda item: item.path.parent.name in STACK_FOLDERS)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage in what is collected, now or later: it lives to the end, and looking took half of the work."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for the run."""
    folder = Path(tempfile.mkdtemp(prefix="latchkey-tests-"))
    folder.chmod(0o711)  # a run as root hands the server to an account that has to walk through
    server = prepare_postgres(folder, port=free_port(), log=folder / "postgres.log")
    try:
        with running(server.program):
            yield server
    finally:
        remove_folder(folder)


@pytest.fixture(scope="session")
def postgres_url(postgres: Postgres) -> str:
    """The server's own empty database, for tests that need PostgreSQL and none of our tables."""
    return postgres.url("postgres")


@pytest.fixture(scope="session")
def empty_database(postgres: Postgres) -> Callable[[], str]:
    """Makes empty databases, which go with the server: each call returns the URL of a new one."""

    def make() -> str:
        name = f"empty_{next(_names)}"
        postgres.create_database(name)
        return postgres.url(name)

    return make


@pytest.fixture(scope="session")
def migrated_database(postgres: Postgres) -> Callable[[], str]:
    """Makes migrated databases, which go with the server: each call returns the URL of a new one."""
    postgres.create_database(_TEMPLATE)
    engine = make_engine(postgres.url(_TEMPLATE))
    migrate(engine)
    engine.dispose()  # PostgreSQL copies only a template that nobody is connected to

    def make() -> str:
        name = f"test_{next(_names)}"
        postgres.create_database(name, template=_TEMPLATE)
        return postgres.url(name)

    return make


@pytest.fixture
def database_url(migrated_database: Callable[[], str]) -> str:
    """A migrated database that only this test uses."""
    return migrated_database()


@pytest.fixture(scope="session")
def kept_database(migrated_database: Callable[[], str]) -> str:
    """A migrated database for the run."""
    return migrated_database()


@pytest.fixture
def emptied_database(kept_database: str) -> str:
    """The run's database, emptied: quicker than a new one. For tests that leave nothing running behind them."""
    with make_unpooled_engine(kept_database).begin() as connection:
        # Rows, not TRUNCATE: a few rows are gone in a millisecond, new files for every table take a hundred.
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
    return kept_database


@pytest.fixture(scope="session")
def redis_port() -> Iterator[int]:
    """One Redis server for the run."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="latchkey-tests-") as name:
        folder = Path(name)
        with running(redis_program(folder, port=port, log=folder / "redis.log")):
            yield port


@pytest.fixture
def redis_url(redis_port: int) -> str:
    """An emptied Redis database. Its channels, unlike its keys, are shared by all databases of the server."""
    url = make_redis_url(redis_port, database=next(_numbers))
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def sent() -> Sent:
    """What was dispatched."""
    return Sent()


@pytest.fixture
def core(database_url: str, redis_url: str, tmp_path: Path, sent: Sent) -> Iterator[Core]:
    """A process's parts with the tenants alice and bob."""
    settings = make_settings(database_url=database_url, redis_url=redis_url, key_file=tmp_path / "key")
    core = make_core(settings, sent=sent)
    yield core
    core.engine.dispose()
    core.redis.close()


@pytest.fixture(scope="session")
def sandboxes() -> Iterator[Callable[..., RunningSandbox]]:
    """Sandboxes by their options, each started once per run. A test's accounts and keys are its own all the same."""
    started: dict[str, RunningSandbox] = {}
    with ExitStack() as stack:

        def get(**options: Any) -> RunningSandbox:
            key = repr(sorted(options.items()))
            if key not in started:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="latchkey-sandbox-")))
                started[key] = stack.enter_context(start_sandbox(folder, **options))
            return started[key]

        yield get
