"""A tenant with a receiver, and a process's parts that may deliver to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from app.core import Core
from tests.webhooks.receiver import Receiver, receiving


@pytest.fixture
def database_url(emptied_database: str) -> str:
    """The run's database, emptied."""
    return emptied_database


@pytest.fixture
def open_core(core: Core) -> Core:
    """A process that may deliver to loopback."""
    return replace(core, settings=core.settings.model_copy(update={"webhook_allow_private": True}))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that answers 204."""
    with receiving() as made:
        yield made
