"""Stacks on other engines: what `make up` runs, with another server where its own Redis or PostgreSQL would be."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from devstack.folder import remove_folder
from devstack.running import RunningStack
from tests.stack.city import City
from tests.stack.reports import add_logs

UNLIMITED = dict.fromkeys(("LOGIN_RATE_PER_MINUTE", "STRICT_RATE_PER_MINUTE", "READ_RATE_PER_MINUTE"), "1000000")


@pytest.fixture(scope="module")
def engine_folder() -> Iterator[Path]:
    """A folder for a module's servers and stack, which other accounts can walk through."""
    folder = Path(tempfile.mkdtemp(prefix="latchkey-engines-"))
    folder.chmod(0o755)
    yield folder
    remove_folder(folder)


@pytest.fixture
def city(stack: RunningStack) -> Iterator[City]:
    """The module's stack, in use."""
    city = City(stack)
    yield city
    city.engine.dispose()
    city.redis.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test says what the stack's processes logged last."""
    report = yield
    add_logs(item, report)
    return report
