"""Stacks on other engines: what `make up` runs, with another server where its own Redis or PostgreSQL would be."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from devstack.folder import remove_folder
from devstack.running import RunningStack
from tests.stack.city import City

UNLIMITED = dict.fromkeys(("LOGIN_RATE_PER_MINUTE", "STRICT_RATE_PER_MINUTE", "READ_RATE_PER_MINUTE"), "1000000")

_LAST_LINES = 60


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
    """A failed test says what the stack's processes logged last: their folder is gone when the run is over."""
    report = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if call.when == "call" and report.failed and isinstance(stack, RunningStack):
        for log in sorted((stack.folder / "logs").glob("*.log")):
            report.sections.append((f"end of {log.name}", "\n".join(log.read_text().splitlines()[-_LAST_LINES:])))
    return report
