"""Fixtures for tests of sessions: a process's parts alone, or a stage with a Telegram."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sandbox.process import RunningSandbox
from tests.builders import make_settings
from tests.sessions.stage import LoggedIn, Stage

StageMaker = Callable[..., Stage]


@pytest.fixture
def database_url(emptied_database: str) -> str:
    """The run's database, emptied."""
    return emptied_database


@pytest.fixture(scope="session")
def sandbox(sandboxes: Callable[..., RunningSandbox]) -> RunningSandbox:
    """One Telegram for the run; a test's accounts and keys are its own all the same."""
    return sandboxes()


@pytest.fixture(scope="session")
def reserves() -> dict[str, list[LoggedIn]]:
    """Accounts that are logged in for tests to come, by Telegram."""
    return defaultdict(list)


@pytest.fixture
def make_stage(
    database_url: str,
    redis_url: str,
    tmp_path: Path,
    sandbox: RunningSandbox,
    reserves: dict[str, list[LoggedIn]],
) -> Iterator[StageMaker]:
    """Makes a stage with these settings, at the run's Telegram or another."""
    with ExitStack() as stack:

        def make(*, telegram: RunningSandbox = sandbox, **settings: Any) -> Stage:
            telegram.driver.clear_faults()
            telegram.driver.network("ok")
            made = make_settings(
                database_url=database_url,
                redis_url=redis_url,
                key_file=tmp_path / "key",
                telegram_dc_address=f"2:127.0.0.1:{telegram.dcs[2]}",
                telegram_public_key_file=telegram.public_key_file,
                **settings,
            )
            return stack.enter_context(Stage(made, telegram.driver, reserve=reserves[telegram.control]))

        yield make


@pytest.fixture
def stage(make_stage: StageMaker) -> Stage:
    """A stage as it comes."""
    return make_stage()
