"""Verifying: a sample opens for real; what does not is said, counted, and backed up again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sqlalchemy import update

from app.models import TelegramSession
from app.vault.places import session_place
from tests.backups.custody import Custody, make_custody
from tests.vault.vaults import add_sessions, make_local_provider, make_ring


def test_a_sample_opens(custody: Custody) -> None:
    """Each opening is an audit row of the session's tenant."""
    strings = add_sessions(custody.vault, 10)
    custody.back_up()
    report = custody.verify(sample=4)
    assert 1 <= len(report.verified) <= 4
    assert report.good
    events = custody.vault.events("backup.verified")
    assert {event.subject for event in events} <= strings.keys()
    assert {(event.tenant_id, event.actor) for event in events} == {("alice", "test")}


def test_with_no_backups_there_is_nothing_to_verify(custody: Custody) -> None:
    """An empty catalogue is not an error."""
    assert custody.verify().good


def test_what_is_corrupt_or_missing_is_backed_up_again(custody: Custody) -> None:
    """Reported with its object, in the audit, and due at once."""
    corrupt, missing, whole = sorted(add_sessions(custody.vault, 3))
    custody.back_up()
    names = {name.session_id: name.object_key for name in custody.names()}
    custody.bucket.put(names[corrupt], b"damaged")
    custody.bucket.delete([names[missing]])
    report = custody.verify(sample=200)
    assert (report.corrupt, report.missing, report.verified) == ([names[corrupt]], [names[missing]], [names[whole]])
    assert not report.good
    assert [event.subject for event in custody.vault.events("backup.corrupt")] == [corrupt]
    assert custody.back_up().backed_up == 2
    assert custody.verify(sample=200).good


def test_a_backup_that_does_not_hold_a_string_session_is_corrupt(custody: Custody) -> None:
    """Checksums and seals can be right and the content useless."""
    vault = custody.vault
    [session_id] = add_sessions(vault, 1)
    row = custody.rows()[session_id]
    sealed = vault.keyring.seal(session_place(row.tenant_id, row.id), b"no string session")
    with vault.transaction() as db:
        db.execute(update(TelegramSession).values(session_sealed=sealed.ciphertext, key_id=sealed.key_id))
    custody.back_up()
    assert len(custody.verify().corrupt) == 1


def test_a_key_that_is_not_to_be_had_is_told_apart(custody: Custody, tmp_path: Path) -> None:
    """Nothing is wrong with the backup, so it is not made again."""
    add_sessions(custody.vault, 1)
    custody.back_up()
    vault = custody.vault
    provider = make_local_provider(tmp_path)
    stranger = replace(vault, provider=provider, keyring=make_ring(vault.database_url, provider))
    report = make_custody(stranger, custody.bucket).verify()
    assert (len(report.unavailable), report.good) == (1, False)
    assert custody.back_up().backed_up == 0
