"""What a stack runs with, and what it tells of that."""

from __future__ import annotations

from pathlib import Path

from devstack.configuration import configure


def test_settings_that_were_given_are_told(tmp_path: Path) -> None:
    """A command beside the stack must not take a default where the stack has another value: retention, say."""
    given = {"BACKUP_RETENTION_DAYS": "365", "S3_PREFIX": "mine/", "QR_TTL_SECONDS": "", "S3_BUCKET": "not-ours"}
    settings = configure(tmp_path, given).settings
    assert settings["BACKUP_RETENTION_DAYS"] == "365"
    assert settings["S3_PREFIX"] == "mine/"
    assert "QR_TTL_SECONDS" not in settings
    assert settings["S3_BUCKET"] == "latchkey-backups"  # the stack's stores are its own
