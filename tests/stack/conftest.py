"""One stack for the folder, with two login workers; each test enters it anew."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from devstack.running import RunningStack, running_stack
from tests.collector import Collector, collecting
from tests.stack.city import City
from tests.stack.reports import add_logs


@pytest.fixture(scope="package")
def collector() -> Iterator[Collector]:
    """Where the stack sends its traces."""
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="package")
def stack(collector: Collector) -> Iterator[RunningStack]:
    """The stack of ``make up`` without its exporter, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="latchkey-stack-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # a run as root hands PostgreSQL to an account that has to walk through
        settings = {
            "LOGIN_RATE_PER_MINUTE": "1000000",
            "STRICT_RATE_PER_MINUTE": "1000000",
            "READ_RATE_PER_MINUTE": "1000000",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {collector.token}",
        }
        with running_stack(folder, login_workers=2, settings=settings, without=("exporter",)) as running:
            yield running


@pytest.fixture
def city(stack: RunningStack) -> Iterator[City]:
    """The stack, with a Telegram in good health and no faults left over."""
    city = City(stack)
    city.telegram.clear_faults()
    city.telegram.network("ok")
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
