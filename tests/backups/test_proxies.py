"""A session's proxy goes into its backup, sealed, and comes back with it."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta

from sqlalchemy import update

from app.backups.content import Content, decode
from app.backups.opening import open_backup
from app.backups.wrappings import BackupKeys
from app.models import TelegramSession
from app.vault.places import session_place, session_proxy_place
from app.vault.rotation import rotate_keys
from app.vault.sealing import Place, Sealed
from tests.backups.custody import Custody, Elsewhere
from tests.vault.vaults import ALICE, Vault, add_sessions

PROXY = "socks5://alice:proxy-secret@127.0.0.1:1080"


def add_proxied(vault: Vault) -> str:
    """A session that was made through the proxy."""
    (session_id,) = add_sessions(vault, 1, device={"api_id": 1, "proxied": True})
    seal_in(vault, session_id, session_proxy_place(ALICE, session_id))
    return session_id


def seal_in(vault: Vault, session_id: str, place: Place) -> None:
    """Seal the proxy for a place, and store it in a session's row."""
    with vault.transaction() as db:
        key_id = db.get_one(TelegramSession, session_id).key_id
    assert key_id is not None
    sealed = vault.keyring.seal_under_key(key_id, place, PROXY.encode())
    with vault.transaction() as db:
        db.execute(update(TelegramSession).where(TelegramSession.id == session_id).values(proxy_sealed=sealed))


def stored_proxy(custody: Custody, session_id: str) -> str:
    """The proxy in a session's row, opened."""
    row = custody.rows()[session_id]
    assert row.key_id is not None
    assert row.proxy_sealed is not None
    return custody.vault.keyring.open(
        session_proxy_place(ALICE, session_id), Sealed(row.key_id, row.proxy_sealed)
    ).decode()


def test_a_proxy_is_restored_with_its_session(custody: Custody, rebuilt: Elsewhere) -> None:
    """Also after a rotation; nothing of it is readable in the bucket."""
    session_id = add_proxied(custody.vault)
    vault = custody.vault
    rotate_keys(
        transaction=vault.transaction, keyring=vault.keyring, actor="test", max_age=timedelta(days=90), force=True
    )
    custody.back_up()
    (name,) = custody.names()
    assert b"proxy-secret" not in custody.bucket.get(name.object_key)
    lost = rebuilt()
    assert lost.restore().restored == 1
    assert stored_proxy(lost, session_id) == PROXY
    assert lost.rows()[session_id].device["proxied"] is True


def test_a_restored_session_starts_without_doubts(custody: Custody, rebuilt: Elsewhere) -> None:
    """What was counted and reported of a row that gives way to its backup is not the backup's."""
    (session_id,) = add_sessions(custody.vault, 1, version=7)
    custody.back_up()
    lost = rebuilt()
    lost.restore()
    with lost.vault.transaction() as db:
        db.execute(update(TelegramSession).values(version=1, denials=3, reported_dead_at=TelegramSession.created_at))
    lost.restore()
    row = lost.rows()[session_id]
    assert (row.version, row.denials, row.reported_dead_at) == (7, 0, None)


def test_verifying_opens_the_proxy_too(custody: Custody) -> None:
    """One that does not open in its place is a corrupt backup: found while there is still a row to back up anew."""
    session_id = add_proxied(custody.vault)
    seal_in(custody.vault, session_id, session_place(ALICE, session_id))
    custody.back_up()
    report = custody.verify()
    assert (report.verified, report.corrupt) == ([], [custody.names()[0].object_key])


def test_a_backup_from_before_proxies_were_kept_still_opens(custody: Custody) -> None:
    """Its object has no such member, and neither had what its digest was made of."""
    add_sessions(custody.vault, 1)
    custody.back_up()
    (name,) = custody.names()
    content = json.loads(custody.bucket.get(name.object_key))["content"]
    del content["proxy_sealed"]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    checksum = hashlib.sha256(canonical.encode()).hexdigest()
    old = decode(json.dumps({"checksum": checksum, "content": content}).encode(), Content, checksum=checksum)
    opened = open_backup(name, old, BackupKeys(custody.bucket, custody.vault.keyring, why="to test"))
    assert opened.content.proxy_sealed is None
