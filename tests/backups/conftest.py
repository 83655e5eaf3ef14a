"""Fixtures of the backup tests: a real S3 server, and an emulated one for what the real one cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.vault.wrapping import KeyProvider
from tests.backups.custody import Custody, Elsewhere, make_custody, new_bucket, rclone_s3
from tests.vault.vaults import (
    Vault,
    aws_environment,
    emulated_aws,
    make_local_provider,
    make_vault,
    open_vault,
)


@pytest.fixture(scope="session")
def _credentials() -> Iterator[None]:
    with aws_environment():
        yield


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory, _credentials: None) -> Iterator[str]:
    """A real S3 server for the run."""
    with rclone_s3(tmp_path_factory.mktemp("rclone")) as url:
        yield url


@pytest.fixture(scope="session")
def aws_url(tmp_path_factory: pytest.TempPathFactory, _credentials: None) -> Iterator[str]:
    """An emulated AWS for the run."""
    with emulated_aws(tmp_path_factory.mktemp("aws")) as url:
        yield url


@pytest.fixture(params=["real", "emulated"])
def either_s3_url(request: pytest.FixtureRequest) -> str:
    """The real S3 server and the emulated one in turn."""
    url = request.getfixturevalue("s3_url" if request.param == "real" else "aws_url")
    assert isinstance(url, str)
    return url


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


@pytest.fixture
def custody(vault: Vault, s3_url: str) -> Custody:
    """A vault with an empty bucket on the real S3 server."""
    return make_custody(vault, new_bucket(s3_url))


@pytest.fixture
def rebuilt(custody: Custody, migrated_database: Callable[[], str]) -> Iterator[Elsewhere]:
    """Loses the database: each call gives the same bucket with an empty one, and the same key provider or another."""
    opened: list[Vault] = []

    def lose(provider: KeyProvider = custody.vault.provider) -> Custody:
        opened.append(open_vault(migrated_database(), provider))
        return make_custody(opened[-1], custody.bucket)

    yield lose
    for vault in opened:
        vault.engine.dispose()
