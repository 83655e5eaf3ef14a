"""A hostile bucket: what somebody who can write to it, and has no key, tries. Each rule is written as the attack."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.backups.content import Content, KeyContent, Tombstone, decode, encode
from app.backups.manifest import Manifest
from app.backups.manifest_expiry import expire_manifests
from app.backups.names import MANIFESTS, SESSIONS, ObjectName, format_time
from app.backups.wrappings import describe_key
from app.clock import utc_now
from app.models import EncryptionKey
from tests.backups.custody import Custody, Elsewhere
from tests.vault.vaults import ALICE, add_sessions

LATER = timedelta(days=60)


def one_session(custody: Custody) -> str:
    """A session that is backed up."""
    (session_id,) = add_sessions(custody.vault, 1)
    custody.back_up()
    return session_id


def put_tombstone(custody: Custody, session_id: str, *, stolen: Tombstone | None = None) -> str:
    """Put a tombstone on a session; ``stolen``: with another one's key and signature."""
    now = utc_now()
    content = Tombstone(backed_up_at=now, tenant_id=ALICE, session_id=session_id, version=99)
    if stolen is not None:
        content = content.model_copy(update={"key": stolen.key, "digest_sealed": stolen.digest_sealed})
    body, checksum = encode(content)
    name = ObjectName(ALICE, session_id, now, 99, None, checksum)
    custody.bucket.put(name.object_key, body)
    return name.object_key


def erase(custody: Custody, session_id: str) -> Tombstone:
    """Erase a session for real, and read its tombstone."""
    custody.change(session_id, session_sealed=None, key_id=None, status="revoked")
    custody.back_up()
    name = custody.names(session_id)[-1]
    assert name.is_tombstone
    return decode(custody.bucket.get(name.object_key), Tombstone, checksum=name.checksum)


@pytest.mark.parametrize("signed_for_another", [False, True])
def test_a_forged_tombstone_erases_nothing(custody: Custody, rebuilt: Elsewhere, signed_for_another: bool) -> None:
    """Neither a plain one, nor one with the signature of another session's genuine tombstone: the session comes back."""
    session_id = one_session(custody)
    stolen = None
    if signed_for_another:
        (other,) = add_sessions(custody.vault, 1, telegram_user_id=77)
        custody.back_up()
        stolen = erase(custody, other)
    forged = put_tombstone(custody, session_id, stolen=stolen)
    report = rebuilt().restore(validate_after=timedelta())
    assert report.restored == 1
    assert [problem.object_key for problem in report.problems] == [forged]


def test_a_genuine_tombstone_erases(custody: Custody, rebuilt: Elsewhere) -> None:
    """It is signed by a key that the bucket and the key encryption key give."""
    erase(custody, one_session(custody))
    report = rebuilt().restore(validate_after=timedelta())
    assert (report.restored, report.erased, report.problems) == (0, 1, [])


def test_a_forged_tombstone_expires_nothing(custody: Custody) -> None:
    """The genuine backup stays, however old the forged one has become; somebody is told of it."""
    session_id = one_session(custody)
    forged = put_tombstone(custody, session_id)
    report = custody.expire(now=utc_now() + LATER)
    assert (report.expired, report.foreign) == (0, [forged])
    assert [name.is_tombstone for name in custody.names(session_id)] == [False, True]


def test_a_forged_backup_expires_nothing(custody: Custody) -> None:
    """An object that only looks newer by its name supersedes nothing."""
    session_id = one_session(custody)
    genuine = custody.names(session_id)[0]
    content = custody.contents(session_id)[0]
    newer = content.model_copy(update={"backed_up_at": utc_now()})
    body, checksum = encode(newer)
    forged = genuine._replace(backed_up_at=newer.backed_up_at, checksum=checksum)
    custody.bucket.put(forged.object_key, body)
    assert custody.expire(now=utc_now() + LATER).foreign == [forged.object_key]
    assert genuine in custody.names(session_id)


def test_a_forged_tombstone_is_found_and_the_session_backed_up(custody: Custody) -> None:
    """verify reports it; and the next change is backed up as ever."""
    session_id = one_session(custody)
    forged = put_tombstone(custody, session_id)
    report = custody.verify()
    assert (report.good, report.foreign, len(report.verified)) == (False, [forged], 1)
    custody.change(session_id, username="later")
    assert custody.back_up().backed_up == 1


@pytest.mark.parametrize("of_the_past", [False, True])
def test_a_forged_manifest_says_nothing(custody: Custody, rebuilt: Elsewhere, of_the_past: bool) -> None:
    """It lists tombstones that are not there: everything comes back, and the manifest is reported."""
    session_id = one_session(custody)
    tombstone = ObjectName(ALICE, session_id, utc_now(), 99, None, "0" * 64)
    manifest = Manifest(run_id="bak_forged", part=0, created_at=utc_now(), objects=[tombstone.object_key])
    body, checksum = encode(manifest)
    forged = f"{MANIFESTS}{format_time(utc_now())}.bak_forged.00000.{checksum}.json"
    custody.bucket.put(forged, body)
    report = rebuilt().restore(validate_after=timedelta(), at=utc_now() if of_the_past else None)
    assert report.restored == 1
    assert [problem.object_key for problem in report.problems] == [forged]
    assert custody.verify().foreign == [forged]


def test_a_manifest_that_was_moved_says_nothing(custody: Custody, rebuilt: Elsewhere) -> None:
    """A genuine one under another run's name is of something else."""
    one_session(custody)
    (genuine,) = custody.bucket.list_keys(MANIFESTS)
    checksum = genuine.removesuffix(".json").rpartition(".")[2]
    moved = f"{MANIFESTS}{format_time(utc_now())}.bak_other.00000.{checksum}.json"
    custody.bucket.put(moved, custody.bucket.get(genuine))
    report = rebuilt().restore(validate_after=timedelta())
    assert [problem.object_key for problem in report.problems] == [moved]


def test_an_emptied_bucket_is_noticed(custody: Custody) -> None:
    """Living sessions without their newest backup are gaps: told, counted, and backed up again."""
    session_ids = sorted(add_sessions(custody.vault, 3))
    custody.back_up()
    custody.bucket.delete(list(custody.bucket.list_keys(SESSIONS)))
    report = custody.verify()
    assert (report.good, sorted(report.gaps)) == (False, session_ids)
    assert custody.back_up().backed_up == 3
    assert custody.verify().gaps == []


def test_a_bucket_that_was_rolled_back_is_noticed(custody: Custody) -> None:
    """Old versions of everything are there, each genuine: but not the newest, which the database remembers."""
    session_id = one_session(custody)
    custody.change(session_id, username="later")
    custody.back_up()
    old, new = custody.names(session_id)
    custody.bucket.delete([new.object_key])
    assert custody.names(session_id) == [old]
    assert custody.verify().gaps == [session_id]


def planted(custody: Custody, session_id: str, wrapping_key_id: str) -> str:
    """Put an object whose key somebody has wrapped under a KMS key of their own."""
    content = custody.contents(session_id)[0]
    key = content.key.model_copy(
        update={"key_id": "key_planted", "provider": "aws-kms", "wrapping_key_id": wrapping_key_id}
    )
    now = utc_now()
    forged = content.model_copy(update={"key": KeyContent.model_validate(key), "backed_up_at": now})
    body, checksum = encode(Content.model_validate(forged))
    name = ObjectName(ALICE, session_id, now, content.session.version, "key_planted", checksum)
    custody.bucket.put(name.object_key, body)
    return name.object_key


def test_a_planted_sessions_key_is_not_asked_for(custody: Custody, rebuilt: Elsewhere) -> None:
    """An object names a wrapping key that is on no list of ours: nobody asks it, and the genuine backup serves."""
    session_id = one_session(custody)
    object_key = planted(custody, session_id, "arn:aws:kms:eu-west-1:000000000000:key/somebody-elses")
    report = rebuilt().restore(validate_after=timedelta())
    assert report.restored == 1
    [problem] = report.problems
    assert problem.object_key == object_key
    assert "on no list of ours" in problem.detail


def test_known_wrapping_keys_are_the_present_one_and_the_databases(custody: Custody) -> None:
    """What BackupKeys may ask without being told."""
    one_session(custody)
    with custody.vault.transaction() as db:
        of_rows = {describe_key(row).wrapping_key_id for row in db.query(EncryptionKey)}
    assert of_rows <= custody.vault.keyring.known_wrapping_keys()


def test_a_manifest_expires_when_nothing_that_it_lists_is_kept(custody: Custody) -> None:
    """Not before, however old; and one that is not ours stays for somebody to look at."""
    session_id = one_session(custody)
    (manifest,) = custody.bucket.list_keys(MANIFESTS)
    forged = f"{MANIFESTS}{format_time(utc_now())}.bak_forged.00000.{'0' * 64}.json"
    custody.bucket.put(forged, b"{}")

    def expire(retention: timedelta) -> int:
        return expire_manifests(custody.vault.transaction, custody.vault.keyring, custody.bucket, retention=retention)

    past = -timedelta(days=1)  # every manifest is older than tomorrow
    assert expire(timedelta(days=30)) == 0
    assert expire(past) == 0
    custody.change(session_id, session_sealed=None, key_id=None, status="revoked")
    custody.back_up()
    custody.expire(now=utc_now() + LATER)
    custody.expire(now=utc_now() + LATER)
    assert custody.names(session_id) == []
    assert expire(past) == 2
    assert list(custody.bucket.list_keys(MANIFESTS)) == [forged]
    assert manifest != forged
