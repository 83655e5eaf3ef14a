"""A tenant's key for its backups: without it they say nothing, wherever copies of them lie."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from app.backups.names import tenant_keys_prefix
from app.models import TenantKey
from app.vault.rotation import rotate_keys
from tests.backups.custody import Custody, Elsewhere
from tests.vault.vaults import ALICE, BOB, add_sessions


def keys_in_bucket(custody: Custody, tenant_id: str = ALICE) -> list[str]:
    """The objects that have a tenant's key."""
    return list(custody.bucket.list_keys(tenant_keys_prefix(tenant_id)))


def tenant_keys(custody: Custody) -> dict[str, str]:
    """The ids of the tenants' keys in the database, by tenant."""
    with custody.vault.transaction() as db:
        return {row.tenant_id: row.id for row in db.scalars(select(TenantKey))}


def test_destroying_a_tenants_key_makes_copies_of_its_backups_worthless(custody: Custody, rebuilt: Elsewhere) -> None:
    """Every object is still there, say because of a lock, and every data key opens: Alice's are lost, Bob's come back."""
    add_sessions(custody.vault, 2)
    bobs = add_sessions(custody.vault, 1, tenant_id=BOB)
    custody.back_up()
    [key] = keys_in_bucket(custody)
    custody.bucket.delete([key])
    lost = rebuilt()
    report = lost.restore(validate_after=timedelta())
    assert (report.restored, len(report.lost)) == (1, 2)
    assert {"tenant's key is not in the bucket" in problem.detail for problem in report.problems} == {True}
    assert lost.stored() == bobs
    assert report.lost != []


def test_a_restored_tenant_goes_on_with_its_key(custody: Custody, rebuilt: Elsewhere) -> None:
    """The next backup is under the same key, and one restored from old and new backups alike."""
    strings = add_sessions(custody.vault, 2)
    custody.back_up()
    first = rebuilt()
    first.restore(validate_after=timedelta())
    assert tenant_keys(first) == tenant_keys(custody)
    first.change(sorted(strings)[0], username="later")
    first.back_up()
    assert len(keys_in_bucket(first)) == 1
    second = rebuilt()
    assert second.restore(validate_after=timedelta()).problems == []
    assert second.stored() == strings


def test_a_rotation_seals_tenants_keys_anew(custody: Custody, rebuilt: Elsewhere) -> None:
    """In the database by the rotation, in the bucket by the next backup, which leaves no older form of it."""
    strings = add_sessions(custody.vault, 1)
    custody.back_up()
    [before] = keys_in_bucket(custody)
    ids = tenant_keys(custody)
    rotate_keys(
        transaction=custody.vault.transaction,
        keyring=custody.vault.keyring,
        actor="test",
        max_age=timedelta(days=1),
        force=True,
    )
    with custody.vault.transaction() as db:
        [row] = db.scalars(select(TenantKey))
    assert row.key_id == custody.vault.keyring.active_key_id()
    custody.back_up()
    [after] = keys_in_bucket(custody)
    assert after != before
    assert tenant_keys(custody) == ids
    lost = rebuilt()
    assert lost.restore(validate_after=timedelta()).problems == []
    assert lost.stored() == strings


def test_a_deleted_tenants_key_is_stored_again_by_the_next_backup(custody: Custody) -> None:
    """A bucket writer can delete it, as anything: verification says that backups do not open, and it comes back."""
    [session_id] = add_sessions(custody.vault, 1)
    custody.back_up()
    custody.bucket.delete(keys_in_bucket(custody))
    report = custody.verify()
    assert not report.good
    assert custody.back_up().backed_up == 1
    assert custody.verify().good
    assert custody.names(session_id)


def test_a_forged_tenants_key_is_passed_over(custody: Custody, rebuilt: Elsewhere) -> None:
    """Garbage, and another tenant's genuine key under this one's name: neither is taken for it."""
    strings = add_sessions(custody.vault, 1) | add_sessions(custody.vault, 1, tenant_id=BOB)
    custody.back_up()
    [alices], [bobs] = keys_in_bucket(custody), keys_in_bucket(custody, BOB)
    stem = alices.rpartition("/")[2].split(".")[0]
    checksum = bobs.rpartition(".")[0].rpartition(".")[2]
    custody.bucket.put(f"{tenant_keys_prefix(ALICE)}{stem}.{'0' * 64}.json", b"garbage")
    custody.bucket.put(f"{tenant_keys_prefix(ALICE)}{stem}.{checksum}.json", custody.bucket.get(bobs))
    lost = rebuilt()
    assert lost.restore(validate_after=timedelta()).problems == []
    assert lost.stored() == strings
