"""What makes a backup last: its order in time, the keys that it holds back, and one session's trouble staying its own."""

from __future__ import annotations

from datetime import timedelta

import boto3
import pytest
from sqlalchemy import delete, select

from app.clock import utc_now
from app.errors import Conflict
from app.models import BackupObject, EncryptionKey, TelegramSession
from app.vault.destruction import destroy_key
from app.vault.needs import count_needs
from tests.backups.custody import Custody, Elsewhere, make_custody, new_bucket
from tests.vault.vaults import BOB, Vault, add_sessions


def _needs(custody: Custody, key_id: str) -> dict[str, int]:
    with custody.vault.transaction() as db:
        return count_needs(db, key_id)


def _lose_key(custody: Custody, key_id: str) -> None:
    """Take away the key encryption key of a key, as a disabled KMS key would be."""
    with custody.vault.transaction() as db:
        db.get_one(EncryptionKey, key_id).wrapping_key_id = "local-away"
    custody.vault.keyring.forget()


def test_a_clock_that_went_back_loses_no_version(custody: Custody, rebuilt: Elsewhere) -> None:
    """The last backup is of an hour ahead: the next one is still the newer of the two, and a tombstone still the last word."""
    kept, erased = sorted(add_sessions(custody.vault, 2))
    ahead = utc_now() + timedelta(hours=1)
    for session_id in (kept, erased):
        custody.change(session_id, backed_up_at=ahead)
    custody.back_up()
    custody.change(kept, username="later")
    custody.change(erased, session_sealed=None, key_id=None, status="revoked")
    custody.back_up()
    assert [name.version for name in custody.names(kept)] == [2, 3]
    assert custody.names(kept)[-1].backed_up_at == custody.rows()[kept].backed_up_at
    lost = rebuilt()
    report = lost.restore()
    assert (report.restored, report.erased) == (1, 1)
    assert lost.rows()[kept].username == "later"


def test_a_deleted_sessions_tombstone_comes_after_its_backups(custody: Custody, rebuilt: Elsewhere) -> None:
    """Whatever the clock said when they were made."""
    [session_id] = add_sessions(custody.vault, 1, backed_up_at=utc_now() + timedelta(hours=1))
    custody.back_up()
    with custody.vault.transaction() as db:
        db.execute(delete(TelegramSession))
    custody.expire()
    assert [name.is_tombstone for name in custody.names(session_id)] == [False, True]
    assert rebuilt().restore().restored == 0


def test_a_key_that_is_away_spoils_its_own_sessions_backups_only(custody: Custody) -> None:
    """They are counted as failed and stay due; whatever batch they are in, the others are stored."""
    stuck = set(add_sessions(custody.vault, 3))
    old = custody.vault.keyring.active_key_id()
    custody.vault.keyring.replace_active(old)
    custody.vault.keyring.forget()
    fine = set(add_sessions(custody.vault, 3, tenant_id=BOB))
    _lose_key(custody, old)
    report = custody.back_up(batch_rows=1)
    assert (report.backed_up, report.failed, report.complete) == (3, 3, False)
    assert {name.session_id for name in custody.names()} == fine
    assert {each for each, row in custody.rows().items() if row.backed_up_version is None} == stuck


def test_an_object_that_the_bucket_refuses_is_reported_and_the_rest_goes_on(vault: Vault, aws_url: str) -> None:
    """One that a lifecycle rule has moved to the archive, say: restore and verification tell, and look at the others."""
    custody = make_custody(vault, new_bucket(aws_url))
    first, second = sorted(add_sessions(vault, 2))
    custody.back_up()
    [archived] = custody.names(first)
    key = f"latchkey/{archived.object_key}"
    boto3.client("s3", endpoint_url=aws_url).copy_object(
        Bucket=custody.bucket.name,
        Key=key,
        CopySource={"Bucket": custody.bucket.name, "Key": key},
        StorageClass="GLACIER",
    )
    with vault.transaction() as db:
        db.execute(delete(TelegramSession))
    report = custody.restore()
    assert [(problem.object_key, problem.outcome) for problem in report.problems] == [
        (archived.object_key, "s3_refused")
    ]
    assert (report.restored, report.lost) == (1, [first])
    assert custody.rows().keys() == {second}
    assert custody.verify().unavailable == [archived.object_key]


def test_a_moment_that_came_back_is_backed_up_again(custody: Custody, rebuilt: Elsewhere) -> None:
    """The bucket ends with what came later, a tombstone even: the next restore must not take that for the last word."""
    [session_id] = add_sessions(custody.vault, 1)
    custody.back_up()
    early = custody.names(session_id)[0].backed_up_at
    custody.change(session_id, session_sealed=None, key_id=None, status="revoked")
    custody.back_up()
    then = rebuilt()
    assert then.restore(at=early).restored == 1
    assert then.back_up().backed_up == 1
    assert rebuilt().restore().restored == 1


def test_restored_from_an_older_backup_is_backed_up_again(custody: Custody, rebuilt: Elsewhere) -> None:
    """The newest one is corrupt, and the older one that served would expire."""
    [session_id] = add_sessions(custody.vault, 1)
    custody.back_up()
    custody.change(session_id)
    custody.back_up()
    custody.bucket.put(custody.names(session_id)[-1].object_key, b"damaged")
    lost = rebuilt()
    assert lost.restore().restored == 1
    assert lost.back_up().backed_up == 1
    assert rebuilt().restore().good


def test_a_restored_database_knows_every_backup_that_needs_a_key(custody: Custody, rebuilt: Elsewhere) -> None:
    """Not only those that served: a key is not destroyed under an older version that could still be asked for."""
    [session_id] = add_sessions(custody.vault, 1)
    custody.back_up()
    custody.change(session_id)
    custody.back_up()
    key_id = custody.vault.keyring.active_key_id()
    lost = rebuilt()
    lost.restore()
    assert _needs(lost, key_id) == {"session": 1, "tenant key": 1, "backup": 2}


def test_expiry_lists_what_a_killed_run_left_out(custody: Custody) -> None:
    """Its objects are in the bucket and not in the catalogue: they hold their key back all the same."""
    add_sessions(custody.vault, 2)
    key_id = custody.vault.keyring.active_key_id()
    custody.back_up()
    with custody.vault.transaction() as db:
        db.execute(delete(BackupObject))
    custody.vault.rotate()
    assert custody.vault.key_states()[key_id] == "retired"
    custody.expire()
    custody.vault.rotate()
    assert custody.vault.key_states()[key_id] == "retiring"
    with pytest.raises(Conflict, match="2 backups"):
        destroy_key(transaction=custody.vault.transaction, key_id=key_id, actor="test", reason="test")
    with custody.vault.transaction() as db:
        assert len(db.scalars(select(BackupObject)).all()) == 2


def test_a_fencing_token_grows_over_a_restore(custody: Custody) -> None:
    """Also when the database's token is of a clock that was ahead."""
    ahead = int((utc_now() + timedelta(hours=1)).timestamp() * 1000)
    [session_id] = add_sessions(custody.vault, 1)
    custody.change(session_id)
    custody.back_up()
    with custody.vault.transaction() as db:
        row = db.get_one(TelegramSession, session_id)
        row.version, row.fencing_token = 1, ahead
    assert custody.restore().restored == 1
    assert custody.rows()[session_id].fencing_token == ahead + 1
