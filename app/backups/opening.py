"""Opening an object for real: download, checksum, unwrap, open the seal, read it as a string session."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from telethon.sessions import StringSession

from app.backups.authentic import check_signature
from app.backups.bucket import Bucket
from app.backups.content import BackupCorrupt, Content, Tombstone, decode
from app.backups.due import digest_place, person_place, tenant_place, tombstone_place
from app.backups.names import ObjectName
from app.backups.tenant_keys import StoredTenantKey, find_tenant_key, remove_layer
from app.backups.wrappings import BackupKeys, OpenedKey
from app.errors import SealBroken
from app.vault.places import session_place, session_proxy_place
from app.vault.sealing import open_under


@dataclass(frozen=True)
class OpenedBackup:
    """A backup that was seen to open. The string session itself is not kept; ``content`` says who it is of.

    ``superseded``: the bucket has, or may have, a newer object of the session, which this one is chosen over.
    """

    name: ObjectName
    content: Content
    key: OpenedKey
    tenant_overrides: dict[str, Any] = field(repr=False)
    tenant_key: StoredTenantKey | None = field(default=None, repr=False)
    superseded: bool = False


def download_backup(bucket: Bucket, name: ObjectName) -> Content:
    """Download an object and check that it is what its name says.

    Raises:
        ObjectMissing: it is not there.
        BackupCorrupt: it is not what was stored.
    """
    content = decode(bucket.get(name.object_key), Content, checksum=name.checksum)
    session = content.session
    said = (content.tenant.id, session.id, content.backed_up_at, session.version, content.key.key_id, name.checksum)
    if said != name:
        raise BackupCorrupt("It is of something else than its name says.")
    return content


def check_tombstone(bucket: Bucket, name: ObjectName, keys: BackupKeys) -> None:
    """Make sure that a session was erased: that somebody with a key of ours says so.

    Raises:
        ObjectMissing: it is not there.
        BackupCorrupt: it is not what was stored, or not ours.
        KeyUnavailable, Transient: see ``BackupKeys.unwrap``.
    """
    content = decode(bucket.get(name.object_key), Tombstone, checksum=name.checksum)
    said = (content.tenant_id, content.session_id, content.backed_up_at, content.version, None, name.checksum)
    if said != tuple(name):
        raise BackupCorrupt("It is of something else than its name says.")
    check_signature(content, tombstone_place(name.tenant_id, name.session_id), keys)


def check_object(bucket: Bucket, name: ObjectName, keys: BackupKeys) -> None:
    """Make sure that an object is ours, whether it is a backup or a tombstone.

    Raises:
        as ``check_tombstone`` and ``open_backup``.
    """
    if name.is_tombstone:
        check_tombstone(bucket, name, keys)
    else:
        content = download_backup(bucket, name)
        _check_digest(content, keys.unwrap(content.key))


def open_backup(name: ObjectName, content: Content, keys: BackupKeys) -> OpenedBackup:
    """Open what was downloaded.

    Raises:
        BackupCorrupt: it does not open, or what is in it is no string session.
        KeyUnavailable, Transient: see ``BackupKeys.unwrap``.
    """
    key, tenant_id, session_id = keys.unwrap(content.key), name.tenant_id, name.session_id
    _check_digest(content, key)
    tenant_key = None
    try:
        if content.tenant_key_id is not None:
            tenant_key = find_tenant_key(keys, tenant_id, content.tenant_key_id)
            content = remove_layer(content, tenant_key.secret)
        string = open_under(key.data_key, session_place(tenant_id, session_id), content.session_sealed)
        StringSession(string.decode())
        if content.proxy_sealed is not None:
            open_under(key.data_key, session_proxy_place(tenant_id, session_id), content.proxy_sealed)
        sealed = content.tenant.telegram_sealed
        place = tenant_place(tenant_id, session_id)
        overrides = json.loads(open_under(key.data_key, place, sealed)) if sealed is not None else {}
        content = _with_person(content, key, tenant_id)
    except SealBroken as exc:
        raise BackupCorrupt("Its seal does not open.") from exc
    except (ValueError, TypeError, IndexError) as exc:
        # ``from None``: the exception may quote the string session.
        raise BackupCorrupt(f"What is sealed in it is no string session ({type(exc).__name__}).") from None
    return OpenedBackup(name, content, key, overrides, tenant_key)


def _check_digest(content: Content, key: OpenedKey) -> None:
    place = digest_place(content.tenant.id, content.session.id)
    try:
        digest = open_under(key.data_key, place, content.digest_sealed)
    except SealBroken as exc:
        raise BackupCorrupt("Its seal does not open.") from exc
    if digest != content.digest():
        raise BackupCorrupt("Its content was changed by somebody without its key.")


def _with_person(content: Content, key: OpenedKey, tenant_id: str) -> Content:
    """The content with who it is of, where it was stored."""
    if content.person_sealed is None:
        return content
    place = person_place(tenant_id, content.session.id)
    person = json.loads(open_under(key.data_key, place, content.person_sealed))
    return content.model_copy(update={"session": content.session.model_copy(update=person)})
