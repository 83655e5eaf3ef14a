"""The parts of a process for tests of logins, alone or on a stage with a Telegram."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sandbox.process import RunningSandbox
from tests.builders import make_settings
from tests.logins.stage import Stage

StageMaker = Callable[..., Stage]


@pytest.fixture
def database_url(emptied_database: str) -> str:
    """The run's database, emptied."""
    return emptied_database


@pytest.fixture
def make_stage(
    database_url: str, redis_url: str, tmp_path: Path, sandboxes: Callable[..., RunningSandbox]
) -> Iterator[StageMaker]:
    """Makes a stage: a sandbox with these options, and the settings that name it."""
    with ExitStack() as stack:

        def make(*, sandbox: dict[str, Any] | None = None, **settings: Any) -> Stage:
            running = sandboxes(**(sandbox or {}))
            running.driver.clear_faults()
            running.driver.network("ok")
            made = make_settings(
                database_url=database_url,
                redis_url=redis_url,
                key_file=tmp_path / "key",
                telegram_dc_address=f"2:127.0.0.1:{running.dcs[2]}",
                telegram_public_key_file=running.public_key_file,
                **settings,
            )
            return stack.enter_context(Stage(made, running.driver))

        yield make


@pytest.fixture
def stage(make_stage: StageMaker) -> Stage:
    """A stage as it comes."""
    return make_stage()


@pytest.fixture
def fast_tokens(make_stage: StageMaker) -> Stage:
    """A Telegram whose login tokens live for 2 s."""
    return make_stage(sandbox={"token_seconds": 2})


@pytest.fixture
def quick_polls(make_stage: StageMaker) -> Stage:
    """Logins that ask Telegram every second."""
    return make_stage(qr_poll_seconds=1.0)


@pytest.fixture
def short_lives(make_stage: StageMaker) -> Stage:
    """Logins that live for 20 s, and so wait for 10."""
    return make_stage(qr_ttl_seconds=20)
