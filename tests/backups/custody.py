"""What the backup tests build: S3 servers over HTTP, a vault with a bucket, and short ways to run things."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
from sqlalchemy import select, update

from app.backups.bucket import Bucket, make_bucket
from app.backups.content import Content
from app.backups.expiry import ExpiryReport, expire_backups
from app.backups.names import SESSIONS, ObjectName, parse_name
from app.backups.opening import download_backup
from app.backups.restoring import RestoreReport, restore_sessions
from app.backups.run import BackupReport, back_up_sessions
from app.backups.verifying import VerifyReport, verify_backups
from app.ids import new_id
from app.metrics import make_metrics
from app.models import TelegramSession
from app.settings import Settings
from devstack.ports import HOST, accepts, free_port
from devstack.programs import Program, running
from tests.vault.vaults import ACCESS_KEY, SECRET_KEY, Vault

Elsewhere = Callable[..., "Custody"]
"""Gives the same bucket with an empty database, and another key provider if one is given."""


@dataclass(frozen=True)
class Custody:
    """A vault with a bucket."""

    vault: Vault
    bucket: Bucket

    def back_up(self, **options: Any) -> BackupReport:
        """Run the backup."""
        report = back_up_sessions(
            transaction=self.vault.transaction,
            engine=self.vault.engine,
            keyring=self.vault.keyring,
            bucket=self.bucket,
            metrics=make_metrics(),
            **options,
        )
        assert report is not None
        return report

    def verify(self, **options: Any) -> VerifyReport:
        """Verify a sample."""
        return verify_backups(
            transaction=self.vault.transaction,
            engine=self.vault.engine,
            keyring=self.vault.keyring,
            bucket=self.bucket,
            metrics=make_metrics(),
            actor="test",
            **options,
        )

    def expire(self, **options: Any) -> ExpiryReport:
        """Run the expiry."""
        report = expire_backups(
            transaction=self.vault.transaction,
            engine=self.vault.engine,
            keyring=self.vault.keyring,
            bucket=self.bucket,
            metrics=make_metrics(),
            **({"retention": timedelta(days=30)} | options),
        )
        assert report is not None
        return report

    def restore(self, **options: Any) -> RestoreReport:
        """Restore."""
        return restore_sessions(
            transaction=self.vault.transaction,
            engine=self.vault.engine,
            keyring=self.vault.keyring,
            bucket=self.bucket,
            actor="test",
            **options,
        )

    def names(self, session_id: str | None = None) -> list[ObjectName]:
        """The sessions' objects in the bucket, of one session or of all."""
        names = [parse_name(key) for key in self.bucket.list_keys(SESSIONS)]
        return [name for name in names if name is not None and session_id in (None, name.session_id)]

    def contents(self, session_id: str) -> list[Content]:
        """What a session's backups say, the oldest first."""
        return [download_backup(self.bucket, name) for name in self.names(session_id) if not name.is_tombstone]

    def stored(self) -> dict[str, str]:
        """The string sessions of all rows, opened."""
        return {session_id: self.vault.open_stored(session_id) for session_id in self.rows()}

    def change(self, session_id: str, **columns: Any) -> None:
        """Change a session's row as something worth a backup would."""
        with self.vault.transaction() as db:
            db.execute(
                update(TelegramSession)
                .where(TelegramSession.id == session_id)
                .values(version=TelegramSession.version + 1, **columns)
            )

    def rows(self) -> dict[str, TelegramSession]:
        """The sessions' rows by id."""
        with self.vault.transaction() as db:
            return {row.id: row for row in db.scalars(select(TelegramSession))}


def make_custody(vault: Vault, bucket: Bucket) -> Custody:
    """A vault with a bucket."""
    return Custody(vault=vault, bucket=bucket)


def new_bucket(s3_url: str, **settings: Any) -> Bucket:
    """A new bucket on a server."""
    name = new_id("bucket").replace("_", "-")
    options: dict[str, Any] = {"ObjectLockEnabledForBucket": True} if "s3_object_lock_days" in settings else {}
    boto3.client("s3", endpoint_url=s3_url).create_bucket(Bucket=name, **options)
    return bucket_at(s3_url, name, **settings)


def bucket_at(s3_url: str, name: str, **settings: Any) -> Bucket:
    """A bucket that is there already, or not."""
    return make_bucket(
        Settings(
            _env_file=None,
            database_url="postgresql://unused",
            redis_url="redis://unused",
            telegram_api_id=1,
            telegram_api_hash="unused",
            key_provider="aws-kms",
            kms_key_id="unused",
            s3_bucket=name,
            s3_endpoint_url=s3_url,
            **settings,
        )
    )


@contextmanager
def rclone_s3(folder: Path) -> Iterator[str]:
    """Run a real S3 server over a folder; yields its address."""
    port, rclone = free_port(), Path(sys.executable).with_name("rclone")
    (folder / "s3").mkdir()
    program = Program(
        name="rclone",
        command=(
            *(str(rclone), "serve", "s3", "--addr", f"{HOST}:{port}", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"),
            *("--config", str(folder / "none.conf"), "--vfs-cache-mode", "off", str(folder / "s3")),
        ),
        log=folder / "rclone.log",
        ready=lambda: accepts(port),
    )
    with running(program):
        yield f"http://{HOST}:{port}"
