"""Expiry: what a restore within the retention could ask for stays, and so does the newest of all that lives."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, text, update

from app.backups.expiry import expired_of
from app.backups.names import KEYS, ObjectName, parse_name
from app.clock import utc_now
from app.models import BackupObject, BackupRun, TelegramSession, Tenant
from app.vault.destruction import destroy_key
from app.vault.rotation import rotate_keys
from tests.backups.custody import Custody, make_custody, new_bucket
from tests.vault.vaults import BOB, Vault, add_sessions

HORIZON = datetime(2026, 6, 1, tzinfo=UTC)
LATER = {"now": utc_now() + timedelta(days=31)}


def _name(days: int, *, erased: bool = False) -> ObjectName:
    """A name, so many days after the horizon."""
    key_id = None if erased else "key_1"
    return ObjectName("alice", "ses_1", HORIZON + timedelta(days=days), 1, key_id, "0" * 64)


@pytest.mark.parametrize(
    ("names", "expired"),
    [
        ([_name(-100)], []),
        ([_name(-100), _name(-50)], [0]),
        ([_name(-100), _name(5)], []),
        ([_name(-100), _name(-50), _name(5), _name(6)], [0]),
        ([_name(-100), _name(-50, erased=True)], [0]),
        ([_name(-50, erased=True)], [0]),
        ([_name(-100), _name(5, erased=True)], []),
        ([_name(5, erased=True)], []),
    ],
)
def test_an_object_expires_when_its_successor_is_older_than_the_retention(
    names: list[ObjectName], expired: list[int]
) -> None:
    """Until then it is what a restore to some moment brings back; the newest that lives never expires."""
    assert expired_of(names, HORIZON) == [names[each] for each in expired]


@pytest.mark.parametrize("tenant_id", ["alice", "a/b", "ä ö", "..", "x.y"])
def test_names_say_the_same_when_they_are_read(tenant_id: str) -> None:
    """Whatever a tenant's id is made of, it stays within its folder."""
    name = _name(0)._replace(tenant_id=tenant_id, session_id="ses_2")
    assert parse_name(name.object_key) == name
    assert name.object_key.count("/") == 3
    assert "/../" not in name.object_key
    assert parse_name("sessions/alice/ses_1/something-else.json") is None


def _change(custody: Custody, **columns: Any) -> None:
    with custody.vault.transaction() as db:
        db.execute(update(TelegramSession).values(version=TelegramSession.version + 1, **columns))


def test_superseded_objects_leave_the_bucket_and_the_catalogue(vault: Vault, either_s3_url: str) -> None:
    """After the retention, and not before."""
    custody = make_custody(vault, new_bucket(either_s3_url))
    add_sessions(vault, 3)
    custody.back_up()
    _change(custody)
    custody.back_up()
    assert custody.expire().expired == 0
    report = custody.expire(**LATER)
    assert (report.looked_at, report.expired, report.complete) == (6, 3, True)
    assert {name.version for name in custody.names()} == {2}
    with vault.transaction() as db:
        assert set(db.scalars(select(BackupObject.object_key))) == {name.object_key for name in custody.names()}
        assert len(db.scalars(select(BackupRun)).all()) == 1  # the last complete one


def test_an_erased_session_leaves_nothing_behind(custody: Custody) -> None:
    """First what it was, then the tombstone itself."""
    add_sessions(custody.vault, 1)
    custody.back_up()
    _change(custody, session_sealed=None, key_id=None, status="revoked")
    custody.back_up()
    custody.expire(**LATER)
    assert [name.is_tombstone for name in custody.names()] == [True]
    custody.expire(**LATER)
    assert custody.names() == []


def test_a_deleted_tenants_sessions_get_tombstones(custody: Custody) -> None:
    """A row that is gone is as good as erased; the others' are not touched."""
    add_sessions(custody.vault, 2)
    gone = add_sessions(custody.vault, 2, tenant_id=BOB)
    custody.back_up()
    with custody.vault.transaction() as db:
        db.execute(delete(Tenant).where(Tenant.id == BOB))
    assert custody.expire().tombstones == 2
    assert custody.expire().tombstones == 0
    assert {name.session_id for name in custody.names() if name.is_tombstone} == gone.keys()


def test_a_lost_database_makes_nothing_expire(custody: Custody, migrated_database: Callable[[], str]) -> None:
    """Beat runs against an empty database before anybody restores: the bucket stays as it is, however old."""
    add_sessions(custody.vault, 3)
    custody.back_up()
    with custody.vault.transaction() as db:
        db.execute(text("TRUNCATE sessions, backup_objects, encryption_keys, backup_runs CASCADE"))
    report = custody.expire(**LATER)
    assert (report.expired, report.tombstones) == (0, 0)
    custody.back_up()
    assert custody.restore().restored == 3


def test_a_key_can_be_destroyed_when_its_last_backup_has_expired(custody: Custody) -> None:
    """And then its wrappings leave the bucket as well."""
    vault = custody.vault
    add_sessions(vault, 2)
    old = vault.keyring.active_key_id()
    custody.back_up()

    def rotate(*, force: bool) -> list[str]:
        return rotate_keys(
            transaction=vault.transaction,
            keyring=vault.keyring,
            actor="test",
            max_age=timedelta(days=90),
            force=force,
            retire_after=timedelta(0),
        ).retired

    assert rotate(force=True) == []
    custody.back_up()
    custody.expire(**LATER)
    assert rotate(force=False) == [old]
    destroy_key(transaction=vault.transaction, key_id=old, actor="test", reason="test")
    assert len(list(custody.bucket.list_keys(f"{KEYS}{old}/"))) == 1
    custody.expire(**LATER)
    assert list(custody.bucket.list_keys(f"{KEYS}{old}/")) == []
    assert custody.verify(sample=50).good
