"""Fixtures of the vault's tests: real PostgreSQL, the local key provider, and KMS emulated over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.vault.parts import Vault, aws_environment, empty_tables, emulated_aws, make_local_provider, make_vault


@pytest.fixture(scope="session")
def _shared_database(migrated_database: Callable[[], str]) -> str:
    return migrated_database()


@pytest.fixture
def database_url(_shared_database: str) -> str:
    """A migrated database, emptied for this test."""
    empty_tables(_shared_database)
    return _shared_database


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
