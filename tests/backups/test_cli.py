"""``backup`` and ``restore`` at the command line: what they say, and how they exit."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from app.cli import cli
from app.models import EncryptionKey
from app.vault.providers import LocalKeyProvider
from tests.backups.custody import Custody, make_custody, new_bucket
from tests.vault.vaults import add_sessions, make_vault

Run = Callable[..., Result]


@pytest.fixture
def shop(database_url: str, tmp_path: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Custody:
    """A vault with a bucket, and the environment that the command line finds both by."""
    key_file = tmp_path / "local.key"
    key_file.write_bytes(base64.b64encode(os.urandom(32)))
    bucket = new_bucket(s3_url)
    for name, value in {
        "DATABASE_URL": database_url,
        "REDIS_URL": "redis://127.0.0.1:1",
        "TELEGRAM_API_ID": "1",
        "TELEGRAM_API_HASH": "unused",
        "LOCAL_KEY_FILE": str(key_file),
        "S3_BUCKET": bucket.name,
        "S3_ENDPOINT_URL": s3_url,
    }.items():
        monkeypatch.setenv(name, value)
    return make_custody(make_vault(database_url, LocalKeyProvider(key_file)), bucket)


def run(*arguments: str, exit_code: int = 0) -> Result:
    """Run a command and check how it ends."""
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == exit_code, result.output
    return result


def test_backup_lose_restore(shop: Custody, empty_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The way back at the command line, into a database without tables: rehearse, then write."""
    add_sessions(shop.vault, 3)
    assert "3 backed up, 0 tombstones, 0 failed" in run("backup", "run").output
    assert "3 opened" in run("backup", "verify", "--sample", "30").output
    assert "0 of 3 objects expired" in run("backup", "expire").output
    status = json.loads(run("backup", "status", "--json").stdout)
    assert (status["due"], status["objects"], status["complete_run_at"] is not None) == (0, 3, True)
    monkeypatch.setenv("DATABASE_URL", empty_database())
    assert "no tables yet" in run("restore", exit_code=1).output
    run("migrate")
    rehearsed = run("restore").output
    assert "3 would be restored" in rehearsed
    assert "Nothing was written; add --run." in rehearsed
    assert "3 restored, quarantined until validated" in run("restore", "--run").output
    assert "3 left alone" in run("restore", "--run").output


def test_restore_makes_the_tables_itself(
    shop: Custody, empty_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty database is enough."""
    add_sessions(shop.vault, 2)
    run("backup", "run")
    monkeypatch.setenv("DATABASE_URL", empty_database())
    assert "2 restored" in run("restore", "--run", "--validate-after", "0").output


def test_a_corrupt_object_is_told_and_exits_with_one(shop: Custody) -> None:
    """After the rest was restored."""
    add_sessions(shop.vault, 2)
    run("backup", "run")
    name = shop.names()[0]
    shop.bucket.put(name.object_key, b"damaged")
    output = run("restore", exit_code=1).output
    assert f"corrupt  {name.object_key}" in output
    assert f"lost  {name.session_id}" in output
    assert "1 left alone" in output


@pytest.mark.parametrize("arguments", [("--run", "--dry-run"), ("--at", "yesterday")])
def test_senseless_options_are_told(shop: Custody, arguments: tuple[str, ...]) -> None:
    """Before anything is read."""
    run("restore", *arguments, exit_code=2)


def test_without_a_bucket_the_setting_is_named(shop: Custody, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line."""
    monkeypatch.delenv("S3_BUCKET")
    assert "S3_BUCKET is not set" in run("backup", "run", exit_code=2).output


@pytest.mark.parametrize("arguments", ["backup run", "backup expire", "backup verify", "restore", "restore --run"])
def test_a_database_that_is_away_is_one_line(shop: Custody, monkeypatch: pytest.MonkeyPatch, arguments: str) -> None:
    """No traceback, for people nor in a worker's log."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody@127.0.0.1:1/nothing")
    result = run(*arguments.split(), exit_code=1)
    assert "Error: The database cannot be reached; try again." in result.output
    assert isinstance(result.exception, SystemExit)


def test_keys_at_the_command_line(shop: Custody) -> None:
    """List, rotate, and what still needs the old key."""
    add_sessions(shop.vault, 2)
    old = shop.vault.keyring.active_key_id()
    run("backup", "run")
    assert "re-sealed       0 rows" in run("keys", "rotate", "--if-due").output
    assert "re-sealed       3 rows" in run("keys", "rotate").output
    rows = {row["id"]: row for row in json.loads(run("keys", "list", "--json").stdout)}
    assert (rows[old]["state"], rows[old]["needed_by"]) == ("retiring", "2 backups")
    assert "every key is wrapped as the settings say" in run("keys", "rewrap").output
    refused = run("keys", "destroy", old, "--reason", "test", "--yes", exit_code=1).output
    assert f"Key {old} is needed by 2 backups; they expire after BACKUP_RETENTION_DAYS." in refused
    with shop.vault.transaction() as db:
        assert {key.state for key in db.scalars(select(EncryptionKey))} == {"active", "retiring"}
