"""Fixtures of the vault's tests: real PostgreSQL, the local key provider, and KMS emulated over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vault.vaults import Vault, aws_environment, emulated_aws, make_local_provider, make_vault


@pytest.fixture
def database_url(emptied_database: str) -> str:
    """The run's database, emptied."""
    return emptied_database


@pytest.fixture
def vault(database_url: str, tmp_path: Path) -> Iterator[Vault]:
    """A vault with a local key provider."""
    vault = make_vault(database_url, make_local_provider(tmp_path))
    yield vault
    vault.engine.dispose()


@pytest.fixture(scope="session")
def aws_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An emulated AWS for the run."""
    with aws_environment(), emulated_aws(tmp_path_factory.mktemp("aws")) as url:
        yield url
