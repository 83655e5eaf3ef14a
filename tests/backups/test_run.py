"""The backup: what changed, once, never over anything, whatever comes between."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import redis
from prometheus_client import CollectorRegistry
from sqlalchemy import func, select, text

from app.backups.due import find_due, mark_backed_up
from app.backups.manifest import read_manifest
from app.backups.names import KEYS, MANIFESTS, ObjectName
from app.backups.run import back_up_sessions
from app.backups.wrappings import BackupKeys
from app.clock import utc_now
from app.errors import Permanent, Transient
from app.metrics import make_metrics
from app.metrics_state import StateCollector
from app.models import BackupObject, BackupRun, TelegramSession
from app.vault.rotation import rotate_keys
from devstack.ports import free_port
from tests.backups.custody import Custody, bucket_at, make_custody, new_bucket
from tests.vault.vaults import ALICE, Vault, add_sessions, make_local_provider, make_vault, set_overrides
from tests.waiting import wait_until


def _catalogue(custody: Custody) -> set[str]:
    with custody.vault.transaction() as db:
        return set(db.scalars(select(BackupObject.object_key)))


def test_what_changed_is_backed_up_once(vault: Vault, either_s3_url: str) -> None:
    """Every new session, then nothing, then the one that changed; older versions stay."""
    custody = make_custody(vault, new_bucket(either_s3_url))
    strings = add_sessions(vault, 5)
    first = custody.back_up(batch_rows=2)
    assert (first.backed_up, first.failed, first.complete) == (5, 0, True)
    assert custody.back_up().backed_up == 0
    changed = sorted(strings)[3]
    custody.change(changed, username="alice")
    assert custody.back_up().backed_up == 1
    assert [content.session.version for content in custody.contents(changed)] == [1, 2]
    assert len(custody.names()) == 6
    row = custody.rows()[changed]
    assert (row.backed_up_version, row.backed_up_at) == (row.version, custody.names(changed)[-1].backed_up_at)
    assert _catalogue(custody) == {name.object_key for name in custody.names()}


def test_an_object_holds_all_that_a_restore_needs_and_no_secret(custody: Custody) -> None:
    """The row, the tenant, the wrapped key; in the open neither a secret nor anything of the person."""
    person: dict[str, Any] = {
        "telegram_user_id": 5_017_017_017,
        "end_user_id": "customer-17",
        "username": "wonderland",
        "first_name": "Alice17",
        "phone_masked": "+49•••17",
        "client_metadata": {"plan": "gold"},
    }
    [(session_id, string)] = add_sessions(custody.vault, 1, **person).items()
    set_overrides(custody.vault, ALICE, api_id=4711, api_hash="the-api-hash")
    custody.back_up()
    [name] = custody.names(session_id)
    body = custody.bucket.get(name.object_key).decode()
    content = json.loads(body)["content"]
    assert (content["session"]["status"], content["tenant"]["name"]) == ("active", "Alice")
    assert content["key"]["key_id"] == name.key_id == custody.rows()[session_id].key_id
    for secret in (
        string,
        string[1:60],
        "the-api-hash",
        "5017017017",
        "customer-17",
        "wonderland",
        "Alice17",
        "•17",
        "gold",
    ):
        assert secret not in body


def test_the_manifest_lists_what_the_run_stored(custody: Custody) -> None:
    """Every object, with its checksum; and the bucket has each key's wrapping."""
    add_sessions(custody.vault, 5)
    custody.back_up(batch_rows=2)
    manifests = list(custody.bucket.list_keys(MANIFESTS))
    assert len(manifests) == 3
    keys = BackupKeys(custody.bucket, custody.vault.keyring, why="a test")
    listed = {name for key in manifests for name in read_manifest(custody.bucket, key, keys)}
    assert listed == set(custody.names())
    assert len(list(custody.bucket.list_keys(KEYS))) == 1


def test_a_rotated_session_is_backed_up_under_its_new_key(custody: Custody) -> None:
    """So that the old key can retire once its backups have expired."""
    [session_id] = add_sessions(custody.vault, 1)
    custody.back_up()
    rotate_keys(
        transaction=custody.vault.transaction,
        keyring=custody.vault.keyring,
        actor="test",
        max_age=timedelta(0),
    )
    assert custody.back_up().backed_up == 1
    old, new = custody.names(session_id)
    assert (old.version, new.version) == (1, 1)
    assert old.key_id != new.key_id == custody.rows()[session_id].key_id


def test_an_erased_session_gets_a_tombstone(custody: Custody) -> None:
    """Which says nothing of the person."""
    [session_id] = add_sessions(custody.vault, 1, username="wonderland")
    custody.back_up()
    custody.change(session_id, session_sealed=None, key_id=None, status="revoked")
    report = custody.back_up()
    assert (report.backed_up, report.erased) == (0, 1)
    tombstone = custody.names(session_id)[-1]
    assert tombstone.is_tombstone
    assert b"wonderland" not in custody.bucket.get(tombstone.object_key)
    assert custody.back_up().erased == 0


def test_a_session_that_changes_during_its_backup_stays_due(custody: Custody) -> None:
    """The row is marked only if it is as it was read."""
    changed, unchanged = add_sessions(custody.vault, 2)
    with custody.vault.transaction() as db:
        read = find_due(db, after="", limit=10)
    custody.change(changed)
    with custody.vault.transaction() as db:
        mark_backed_up(db, read, utc_now())
    rows = custody.rows()
    assert (rows[changed].backed_up_version, rows[unchanged].backed_up_version) == (None, 1)


def test_a_session_that_somebody_is_writing_is_not_waited_for(custody: Custody) -> None:
    """It stays due, and its writer never waits for the bucket."""
    first, second = sorted(add_sessions(custody.vault, 2))
    with custody.vault.transaction() as db:
        db.execute(select(TelegramSession).where(TelegramSession.id == first).with_for_update())
        custody.back_up()
    rows = custody.rows()
    assert (rows[first].backed_up_version, rows[second].backed_up_version) == (None, 1)


def test_of_runs_at_the_same_time_one_does_the_work(custody: Custody) -> None:
    """The others see it and leave; the lock goes with its run."""
    add_sessions(custody.vault, 40)
    barrier = threading.Barrier(3)

    def run(_: int) -> int | None:
        barrier.wait()
        report = back_up_sessions(
            transaction=custody.vault.transaction,
            engine=custody.vault.engine,
            keyring=custody.vault.keyring,
            bucket=custody.bucket,
            metrics=make_metrics(),
        )
        return None if report is None else report.backed_up

    with ThreadPoolExecutor(3) as threads:
        backed_up = [count for count in threads.map(run, range(3)) if count]
    assert backed_up == [40]
    assert len(custody.names()) == 40
    assert custody.back_up().backed_up == 0


def test_a_run_ends_in_time_and_the_next_goes_on(custody: Custody) -> None:
    """An early end is said, and nothing is done twice."""
    add_sessions(custody.vault, 6)
    seen: list[int] = []
    first = custody.back_up(batch_rows=2, limit_seconds=0.0)
    assert (first.backed_up, first.complete) == (0, False)
    second = custody.back_up(batch_rows=2, on_progress=lambda done, total: seen.append(done))
    assert (second.backed_up, second.complete, seen) == (6, True, [0, 2, 4, 6])
    assert len(custody.names()) == 6


def test_a_bucket_that_is_away_changes_nothing(custody: Custody) -> None:
    """The run says so, and everything stays due."""
    add_sessions(custody.vault, 3)
    away = make_custody(custody.vault, bucket_at(f"http://127.0.0.1:{free_port()}", "nowhere"))
    with pytest.raises(Transient):
        away.back_up()
    assert custody.back_up().backed_up == 3


def test_a_missing_bucket_is_said(custody: Custody, s3_url: str) -> None:
    """It will not come by itself, so it is not a passing error."""
    add_sessions(custody.vault, 1)
    with pytest.raises(Permanent, match="NoSuchBucket"):
        make_custody(custody.vault, bucket_at(s3_url, "no-such-bucket")).back_up()


def test_a_run_is_recorded(custody: Custody) -> None:
    """The age of the backup is counted from the last run that left nothing to do, also when it found nothing to do."""
    add_sessions(custody.vault, 2)
    report = custody.back_up()
    registry = CollectorRegistry()
    tenants = make_metrics().tenants
    registry.register(StateCollector(custody.vault.transaction, redis.Redis(), tenants=tenants, rotation_days=90))
    age = registry.get_sample_value("telethon_backup_age_seconds")
    assert age is not None
    assert age < 60
    with custody.vault.transaction() as db:
        run = db.get_one(BackupRun, report.run_id)
    assert (run.backed_up, run.failed, run.complete) == (2, 0, True)


def test_encryption_and_locks_are_used_where_they_are_configured(vault: Vault, aws_url: str) -> None:
    """The server encrypts each object, and refuses to delete a version before its time."""
    bucket = new_bucket(aws_url, s3_server_side_encryption="AES256", s3_object_lock_days=2)
    custody = make_custody(vault, bucket)
    add_sessions(vault, 1)
    custody.back_up()
    [name] = custody.names()
    s3 = boto3.client("s3", endpoint_url=aws_url)
    where = {"Bucket": bucket.name, "Key": "latchkey/" + name.object_key}
    head = s3.head_object(Bucket=where["Bucket"], Key=where["Key"])
    assert (head["ServerSideEncryption"], head["ObjectLockMode"]) == ("AES256", "GOVERNANCE")
    with pytest.raises(Exception, match="AccessDenied"):
        s3.delete_object(Bucket=where["Bucket"], Key=where["Key"], VersionId=head["VersionId"])


_VICTIM = """
import sys
from pathlib import Path
from app.backups.run import back_up_sessions
from app.database import make_engine, make_transaction
from app.metrics import make_metrics
from app.vault.keyring import KeyRing
from app.vault.providers import LocalKeyProvider
from tests.backups.custody import bucket_at

database_url, key_file, s3_url, bucket = sys.argv[1:]
engine = make_engine(database_url)
transaction = make_transaction(engine)
keyring = KeyRing(
    transaction=transaction, provider=LocalKeyProvider(Path(key_file)), metrics=make_metrics(), actor="victim"
)

def tell(done, total):
    print(done, flush=True)

back_up_sessions(
    transaction=transaction, engine=engine, keyring=keyring, bucket=bucket_at(s3_url, bucket), metrics=make_metrics(),
    batch_rows=20, on_progress=tell,
)
"""


_THIS = "(SELECT oid FROM pg_database WHERE datname = current_database())"


def test_a_run_that_is_killed_is_finished_by_the_next(database_url: str, tmp_path: Path, s3_url: str) -> None:
    """Killed in the middle of a batch: its lock is free, at most that batch is stored again, nothing is lost."""
    vault = make_vault(database_url, make_local_provider(tmp_path))
    custody = make_custody(vault, new_bucket(s3_url))
    strings = add_sessions(vault, 100)
    [key_file] = tmp_path.glob("*.key")
    with subprocess.Popen(
        [sys.executable, "-c", _VICTIM, database_url, str(key_file), s3_url, custody.bucket.name],
        stdout=subprocess.PIPE,
        text=True,
    ) as victim:
        assert victim.stdout is not None
        assert [victim.stdout.readline() for _ in range(3)] == ["0\n", "20\n", "40\n"]
        victim.kill()

    def let_go() -> bool:
        """Whether PostgreSQL has noticed that the victim is gone."""
        with vault.transaction() as db:
            return not db.scalar(
                text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = " + _THIS)
            )

    wait_until(let_go)
    with vault.transaction() as db:
        marked = db.scalar(
            select(func.count()).select_from(TelegramSession).where(TelegramSession.backed_up_version.is_not(None))
        )
    assert marked is not None
    assert marked >= 40
    assert custody.back_up().backed_up == 100 - marked
    names: dict[str, list[ObjectName]] = {}
    for name in custody.names():
        names.setdefault(name.session_id, []).append(name)
    assert names.keys() == strings.keys()
    assert sum(map(len, names.values())) <= 120
    assert custody.verify(sample=100).good
