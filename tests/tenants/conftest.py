"""The parts of a process for tests of tenants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core import Core
from tests.builders import make_core, make_settings


@pytest.fixture
def core(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Core]:
    """A process's parts with the tenants alice and bob."""
    core = make_core(make_settings(database_url=database_url, redis_url=redis_url, key_file=tmp_path / "key"))
    yield core
    core.engine.dispose()
    core.redis.close()
