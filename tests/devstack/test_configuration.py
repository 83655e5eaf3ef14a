"""What a stack runs with, and what it tells of that."""

from __future__ import annotations

from pathlib import Path

import pytest

from devstack.configuration import configure
from devstack.errors import SetupError


def test_settings_that_were_given_are_told(tmp_path: Path) -> None:
    """A command beside the stack must not take a default where the stack has another value: retention, say."""
    given = {"BACKUP_RETENTION_DAYS": "365", "S3_PREFIX": "mine/", "QR_TTL_SECONDS": "", "S3_BUCKET": "not-ours"}
    settings = configure(tmp_path, given).settings
    assert settings["BACKUP_RETENTION_DAYS"] == "365"
    assert settings["S3_PREFIX"] == "mine/"
    assert "QR_TTL_SECONDS" not in settings
    assert settings["S3_BUCKET"] == "latchkey-backups"  # the stack's stores are its own


def test_programs_find_a_store_behind_its_proxy(tmp_path: Path) -> None:
    """Who stands between the programs and a store gives its own port; the store keeps the one that it listens on."""
    decided = configure(tmp_path, {"POSTGRES_PROXY_PORT": "40001", "REDIS_PROXY_PORT": "40002"})
    assert ":40001/" in decided.settings["DATABASE_URL"]
    assert decided.settings["REDIS_URL"] == decided.settings["CELERY_BROKER_URL"]
    assert decided.settings["REDIS_URL"].endswith("@127.0.0.1:40002/0")
    assert "@127.0.0.1:40002/" in decided.redis_watcher_url
    assert {40001, 40002}.isdisjoint(decided.ports.values())


def test_senseless_proxy_port_is_refused(tmp_path: Path) -> None:
    """One line that names the setting."""
    with pytest.raises(SetupError, match="REDIS_PROXY_PORT=door"):
        configure(tmp_path, {"REDIS_PROXY_PORT": "door"})
