"""Restoring: from nothing but the bucket and the key, to any moment, never over anything newer, whatever is broken."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import boto3
from sqlalchemy import select

from app.backups.content import Content, encode
from app.backups.due import digest_place
from app.backups.tenant_keys import find_tenant_key, remove_layer
from app.backups.wrappings import BackupKeys
from app.clock import utc_now
from app.identities import open_overrides
from app.models import EncryptionKey, TelegramSession, Tenant
from app.vault.kms import KmsKeyProvider
from app.vault.opening import seal_session
from app.vault.providers import KeyProviders
from app.vault.rewrapping import rewrap_keys
from app.vault.rotation import rotate_keys
from tests.backups.custody import Custody, Elsewhere, make_custody, new_bucket
from tests.vault.vaults import (
    ALICE,
    BOB,
    Vault,
    add_sessions,
    make_ring,
    make_string_session,
    set_overrides,
)


def test_everything_comes_back_quarantined(custody: Custody, rebuilt: Elsewhere) -> None:
    """Tenants with their settings, keys that open, sessions as they were, to be validated before anybody uses one."""
    overrides = {"api_id": 4711, "api_hash": "the-api-hash", "proxy": "socks5://u:hunter2@203.0.113.9:1080"}
    set_overrides(custody.vault, ALICE, **overrides)
    with custody.vault.transaction() as db:
        db.get_one(Tenant, ALICE).session_max_idle_days = 90
        db.get_one(Tenant, ALICE).brand = {"accent": "#0a7"}
        db.get_one(Tenant, ALICE).origins = ["https://alice.example"]
    strings = add_sessions(
        custody.vault, 4, username="alice", end_user_id="u-1", client_metadata={"plan": "gold"}, fencing_token=7
    )
    strings |= add_sessions(custody.vault, 2, tenant_id=BOB)
    custody.back_up()
    before, lost = utc_now(), rebuilt()
    seen: list[tuple[int, int]] = []
    report = lost.restore(validate_after=timedelta(hours=1), on_progress=lambda *step: seen.append(step))
    assert (report.sessions, report.restored, report.left_alone, report.problems) == (6, 6, 0, [])
    assert seen == [(0, 6), (6, 6)]
    assert lost.stored() == strings
    original, rows = custody.rows(), lost.rows()
    for session_id, row in rows.items():
        assert (row.status, row.reason) == ("quarantined", "restored")
        assert row.client_metadata == original[session_id].client_metadata
        assert (row.version, row.username) == (original[session_id].version, original[session_id].username)
        assert row.end_user_id == original[session_id].end_user_id
        assert row.fencing_token > 1_000_000_000_000
        assert row.next_validation_at is not None
        assert row.next_validation_at >= before + timedelta(hours=1)
    with lost.vault.transaction() as db:
        tenants = {tenant.id: tenant for tenant in db.scalars(select(Tenant))}
        assert {key.state for key in db.scalars(select(EncryptionKey))} == {"retiring"}
    assert tenants[ALICE].telegram == {"api_id": 4711}
    assert open_overrides(lost.vault.keyring, tenants[ALICE]) == overrides
    assert (tenants[ALICE].brand, tenants[ALICE].origins) == ({"accent": "#0a7"}, ["https://alice.example"])
    assert (tenants[ALICE].session_max_idle_days, tenants[BOB].name) == (90, "Bob")
    assert len(lost.vault.events("session.restored")) == 6
    assert lost.back_up().backed_up == 0


def test_a_restored_database_goes_on(custody: Custody, rebuilt: Elsewhere) -> None:
    """The next rotation moves everything to a key of its own, and the backup follows."""
    strings = add_sessions(custody.vault, 3)
    custody.back_up()
    lost = rebuilt()
    lost.restore()
    report = rotate_keys(
        transaction=lost.vault.transaction, keyring=lost.vault.keyring, actor="test", max_age=timedelta(days=90)
    )
    assert (report.replaced, report.resealed, report.left) == (True, 4, 0)  # three sessions and the tenant's key
    assert lost.stored() == strings
    assert lost.back_up().backed_up == 3


def test_a_dry_run_writes_nothing(custody: Custody, rebuilt: Elsewhere) -> None:
    """It says what would be restored, having opened everything."""
    add_sessions(custody.vault, 3)
    custody.back_up()
    lost = rebuilt()
    report = lost.restore(dry_run=True)
    assert (report.restored, report.problems) == (3, [])
    assert lost.rows() == {}
    with lost.vault.transaction() as db:
        assert db.scalars(select(Tenant)).all() == []
    lost.restore()
    assert (lost.restore(dry_run=True).restored, lost.restore(dry_run=True).left_alone) == (0, 3)


def test_a_restore_may_be_repeated(custody: Custody, rebuilt: Elsewhere) -> None:
    """What is there as new is left alone."""
    strings = add_sessions(custody.vault, 3)
    custody.back_up()
    lost = rebuilt()
    lost.restore()
    again = lost.restore()
    assert (again.restored, again.left_alone) == (0, 3)
    assert lost.stored() == strings


def test_a_newer_row_is_never_overwritten(custody: Custody) -> None:
    """An older one is, unless somebody holds its lease."""
    newer, same, older, leased = sorted(add_sessions(custody.vault, 4))
    for session_id in (same, older, leased):
        custody.change(session_id, username="backed-up")
    custody.back_up()
    custody.change(newer, username="later")
    with custody.vault.transaction() as db:
        for session_id in (older, leased):
            row = db.get_one(TelegramSession, session_id)
            row.version, row.username = 1, "outdated"
        row.lease_id, row.lease_expires_at = "lea_1", utc_now() + timedelta(minutes=5)
    report = custody.restore()
    assert (report.restored, report.left_alone) == (1, 3)
    rows = custody.rows()
    assert [rows[each].username for each in (newer, same, older, leased)] == [
        "later",
        "backed-up",
        "backed-up",
        "outdated",
    ]
    assert rows[older].status == "quarantined"


def test_a_moment_comes_back_as_it_was(custody: Custody, rebuilt: Elsewhere) -> None:
    """Each session in its version of that time; what came later, and what was erased by then, does not."""
    kept, changed, erased = sorted(add_sessions(custody.vault, 3))
    custody.back_up()
    early = custody.names(kept)[0].backed_up_at
    custody.change(changed, username="later")
    custody.change(erased, session_sealed=None, key_id=None, status="revoked")
    [later] = add_sessions(custody.vault, 1, telegram_user_id=99)
    custody.back_up()
    then, now = rebuilt(), rebuilt()
    assert then.restore(at=early).restored == 3
    assert then.rows().keys() == {kept, changed, erased}
    assert then.rows()[changed].username is None
    report = now.restore()
    assert (report.restored, report.erased) == (3, 1)
    assert now.rows().keys() == {kept, changed, later}
    assert now.rows()[changed].username == "later"


def test_one_tenant_comes_back_alone(custody: Custody, rebuilt: Elsewhere) -> None:
    """The others' sessions and rows are not touched."""
    strings = add_sessions(custody.vault, 2, tenant_id=BOB)
    add_sessions(custody.vault, 2)
    custody.back_up()
    lost = rebuilt()
    assert lost.restore(tenant_id=BOB).restored == 2
    assert lost.stored() == strings
    with lost.vault.transaction() as db:
        assert set(db.scalars(select(Tenant.id))) == {BOB}


def test_what_was_over_does_not_come_back_to_life(custody: Custody, rebuilt: Elsewhere) -> None:
    """Replaced and dead sessions keep their status; a revocation that was under way goes on."""
    ids = sorted(add_sessions(custody.vault, 3))
    for session_id, status in zip(ids, ("replaced", "invalid", "revoking"), strict=True):
        custody.change(session_id, status=status, logout_pending=status == "revoking")
    custody.back_up()
    lost = rebuilt()
    lost.restore()
    rows = lost.rows()
    assert [rows[session_id].logout_pending for session_id in ids] == [False, False, True]
    assert rows[ids[2]].next_logout_at is not None
    assert [rows[session_id].status for session_id in ids] == ["replaced", "invalid", "revoking"]
    assert {row.next_validation_at for row in rows.values()} == {None}


def test_old_backups_open_by_the_new_kms_key_after_rewrapping(
    custody: Custody, aws_url: str, rebuilt: Elsewhere
) -> None:
    """Once a backup has run after the rewrapping, the old key encryption key is not needed any more."""
    strings = add_sessions(custody.vault, 2)
    custody.back_up()
    kms_key = boto3.client("kms", endpoint_url=aws_url, region_name="us-east-1").create_key()["KeyMetadata"]["Arn"]
    kms = KmsKeyProvider(kms_key_id=kms_key, endpoint_url=aws_url)
    moving = KeyProviders(kms, {"local": lambda: custody.vault.provider})
    rewrap_keys(
        transaction=custody.vault.transaction, keyring=make_ring(custody.vault.database_url, moving), actor="test"
    )
    assert rebuilt(kms).restore().restored == 0
    assert custody.back_up().backed_up == 0
    lost = rebuilt(kms)
    assert lost.restore().restored == 2
    assert lost.stored() == strings


def test_an_empty_bucket_restores_nothing(vault: Vault, either_s3_url: str) -> None:
    """And says so without an error."""
    report = make_custody(vault, new_bucket(either_s3_url)).restore()
    assert (report.sessions, report.restored, report.good) == (0, 0, True)


def test_drill_a_thousand_sessions(custody: Custody, rebuilt: Elsewhere) -> None:
    """Back up, change, back up, lose the database, restore: every session opens to what it was."""
    strings = add_sessions(custody.vault, 500) | add_sessions(custody.vault, 500, tenant_id=BOB)
    assert custody.back_up().backed_up == 1000
    rows = custody.rows()
    for session_id in sorted(strings)[::100]:
        strings[session_id] = make_string_session()
        sealed = seal_session(
            custody.vault.keyring,
            tenant_id=rows[session_id].tenant_id,
            session_id=session_id,
            session_string=strings[session_id],
        )
        custody.change(session_id, key_id=sealed.key_id, session_sealed=sealed.ciphertext)
    assert custody.back_up().backed_up == 10
    lost = rebuilt()
    report = lost.restore()
    assert (report.sessions, report.restored, report.problems) == (1000, 1000, [])
    assert lost.stored() == strings


def test_a_backup_from_before_people_were_sealed_comes_back(custody: Custody, rebuilt: Elsewhere) -> None:
    """It has the person in the open and none of the newer members, and its digest covers what it has."""
    [(session_id, string)] = add_sessions(custody.vault, 1, username="alice", client_metadata={"plan": "gold"}).items()
    custody.back_up()
    [name] = custody.names(session_id)
    [content] = custody.contents(session_id)
    keys = BackupKeys(custody.bucket, custody.vault.keyring, why="to test")
    content = remove_layer(content, find_tenant_key(keys, ALICE, content.tenant_key_id or "").secret)
    newer: Any = {"person_sealed": True, "tenant_key_id": True, "tenant": {"brand", "redirect_urls", "origins"}}
    members = content.model_dump(mode="json", exclude=newer)
    row = custody.rows()[session_id]
    members["session"] |= {"telegram_user_id": row.telegram_user_id, "username": "alice", "metadata": {"plan": "gold"}}
    members["session"] |= {"first_name": None, "phone_masked": None}
    old = Content.model_validate_json(json.dumps(members))
    place = digest_place(ALICE, session_id)
    sealed = custody.vault.keyring.seal_under_key(content.key.key_id, place, old.digest())
    body, checksum = encode(old.model_copy(update={"digest_sealed": sealed}))
    custody.bucket.delete([name.object_key])
    custody.bucket.put(name._replace(checksum=checksum).object_key, body)
    lost = rebuilt()
    assert lost.restore(validate_after=timedelta()).problems == []
    assert lost.stored() == {session_id: string}
    assert (lost.rows()[session_id].username, lost.rows()[session_id].client_metadata) == ("alice", {"plan": "gold"})
