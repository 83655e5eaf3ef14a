"""The client package against the web application over HTTP, and a Telegram."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from latchkey_client import AsyncLatchkey
from tests.client.served import ServedWeb
from tests.sessions.conftest import database_url, make_stage, reserves, sandbox, stage
from tests.sessions.stage import Stage

__all__ = ["database_url", "make_stage", "reserves", "sandbox", "stage"]


@pytest.fixture
def web(stage: Stage) -> Iterator[ServedWeb]:
    """Latchkey, listening."""
    with ServedWeb(stage.settings) as served:
        yield served


@pytest.fixture
def api_key(stage: Stage) -> str:
    """A key of Alice's that may open sessions."""
    return stage.api_key()


@pytest.fixture
def latchkey(web: ServedWeb, api_key: str) -> AsyncLatchkey:
    """Latchkey, as Alice's program reaches it."""
    return web.latchkey(api_key)
