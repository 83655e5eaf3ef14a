"""A command line on the test's own stores."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import cli
from app.core import Core
from tests.builders import API_HASH, API_ID
from tests.tenants.commands import Run


@pytest.fixture
def database_url(emptied_database: str) -> str:
    """The run's database, emptied."""
    return emptied_database


@pytest.fixture
def environment(core: Core) -> dict[str, str]:
    """The environment of a command on the test's stores."""
    return {
        "DATABASE_URL": core.settings.database_url,
        "REDIS_URL": core.settings.redis_url,
        "TELEGRAM_API_ID": str(API_ID),
        "TELEGRAM_API_HASH": API_HASH,
        "KEY_PROVIDER": "local",
        "LOCAL_KEY_FILE": str(core.settings.local_key_file),
        # Whoever runs the tests may have a running stack's settings in the environment.
        **dict.fromkeys(("CELERY_BROKER_URL", "S3_BUCKET", "TELEGRAM_PROXY", "TELEGRAM_DC_ADDRESS"), ""),
    }


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str, typed: str | None = None, **overrides: str) -> Result:
        return CliRunner().invoke(cli, words, input=typed, env=environment | overrides)

    return call
