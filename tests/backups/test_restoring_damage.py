"""Restoring when objects are corrupt, missing, swapped, forged, or their key is not to be had."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from app.backups.content import encode
from app.backups.names import MANIFESTS, ObjectName
from tests.backups.custody import Custody, Elsewhere
from tests.vault.vaults import (
    add_sessions,
    make_local_provider,
)


def _damage(custody: Custody, name: ObjectName, change: Callable[[bytes], bytes]) -> None:
    custody.bucket.put(name.object_key, change(custody.bucket.get(name.object_key)))


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body[:-40],
        lambda body: body.replace(b'"version":2', b'"version":3'),
        lambda body: b"",
        lambda body: b"\xff\xfe not JSON",
    ],
    ids=["truncated", "changed", "emptied", "garbage"],
)
def test_a_corrupt_object_is_reported_and_the_one_before_serves(
    custody: Custody, rebuilt: Elsewhere, damage: Callable[[bytes], bytes]
) -> None:
    """The rest goes on; a session whose only backup is corrupt is lost, and said."""
    whole, older, gone = sorted(add_sessions(custody.vault, 3))
    custody.back_up()
    custody.change(older)
    custody.change(gone)
    custody.bucket.delete([custody.names(gone)[0].object_key])
    custody.back_up()
    bad = [custody.names(older)[-1], custody.names(gone)[-1]]
    for name in bad:
        _damage(custody, name, damage)
    lost = rebuilt()
    report = lost.restore()
    assert {problem.object_key: problem.outcome for problem in report.problems} == {
        name.object_key: "corrupt" for name in bad
    }
    assert (report.restored, report.lost, report.good) == (2, [gone], False)
    assert {session_id: row.version for session_id, row in lost.rows().items()} == {whole: 1, older: 1}


def test_a_missing_object_is_reported(custody: Custody, rebuilt: Elsewhere) -> None:
    """The manifests say what should be there."""
    whole, older, gone = sorted(add_sessions(custody.vault, 3))
    custody.back_up()
    custody.change(older)
    custody.back_up()
    missing = [custody.names(older)[-1].object_key, custody.names(gone)[-1].object_key]
    custody.bucket.delete(missing)
    lost = rebuilt()
    report = lost.restore()
    assert {problem.object_key: problem.outcome for problem in report.problems} == dict.fromkeys(missing, "missing")
    assert (report.restored, report.lost) == (2, [gone])
    assert lost.rows().keys() == {whole, older}


def test_a_swapped_object_does_not_restore(custody: Custody, rebuilt: Elsewhere) -> None:
    """An object put in another's place, checksum and all, is corrupt: its name and its seal are of another session."""
    alice, bob = sorted(add_sessions(custody.vault, 2))
    custody.back_up()
    [a], [b] = custody.names(alice), custody.names(bob)
    custody.bucket.delete([a.object_key])
    forged = a._replace(checksum=b.checksum)
    custody.bucket.put(forged.object_key, custody.bucket.get(b.object_key))
    report = rebuilt().restore()
    assert report.restored == 1
    assert {problem.object_key for problem in report.problems} >= {forged.object_key}


def test_forged_columns_do_not_restore(custody: Custody, rebuilt: Elsewhere) -> None:
    """Whoever can write to the bucket can make names and checksums, but cannot give a session another owner or status."""
    [session_id] = add_sessions(custody.vault, 1, telegram_user_id=1)
    custody.back_up()
    [name], [content] = custody.names(), custody.contents(session_id)
    later = name.backed_up_at + timedelta(seconds=1)
    forged_session = content.session.model_copy(update={"telegram_user_id": 2})
    body, checksum = encode(content.model_copy(update={"session": forged_session, "backed_up_at": later}))
    forged = name._replace(checksum=checksum, backed_up_at=later)
    custody.bucket.put(forged.object_key, body)
    lost = rebuilt()
    report = lost.restore()
    assert [problem.object_key for problem in report.problems] == [forged.object_key]
    assert lost.rows()[session_id].telegram_user_id == 1


def test_a_corrupt_manifest_is_reported_and_costs_nothing_else(custody: Custody, rebuilt: Elsewhere) -> None:
    """What it listed is in the bucket all the same."""
    add_sessions(custody.vault, 2)
    custody.back_up()
    [manifest] = custody.bucket.list_keys(MANIFESTS)
    custody.bucket.put(manifest, b"{}")
    report = rebuilt().restore()
    assert (report.restored, [problem.object_key for problem in report.problems]) == (2, [manifest])


def test_without_the_key_nothing_opens_and_everything_is_reported(
    custody: Custody, rebuilt: Elsewhere, tmp_path: Path
) -> None:
    """The bucket alone is worth nothing."""
    ids = sorted(add_sessions(custody.vault, 2))
    custody.back_up()
    stranger = rebuilt(make_local_provider(tmp_path))
    report = stranger.restore()
    assert (report.restored, sorted(report.lost)) == (0, ids)
    assert {problem.outcome for problem in report.problems} == {"key_unavailable"}
    assert stranger.rows() == {}
