"""A key for each tenant's backups: when it is destroyed, they say nothing any more, wherever copies of them lie.

32 random bytes, sealed under a data encryption key in a row of ``tenant_keys`` and in one object of the bucket (never locked,
so that it can be deleted). What a backup has sealed is sealed once more under it. So a restore needs nothing but the bucket and
the key encryption key; and a purge that deletes the row and the object leaves nothing to restore, even where a lock, a replica
or somebody's copy keeps the backups themselves.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from app.backups.bucket import Bucket
from app.backups.content import BackupCorrupt, Content, TenantKeyContent, decode, encode
from app.backups.names import tenant_keys_prefix
from app.backups.wrappings import BackupKeys, OpenedKey, describe_key
from app.database import Transaction
from app.errors import Permanent
from app.ids import new_id
from app.models import EncryptionKey, TenantKey
from app.vault.keyring import KeyRing
from app.vault.places import tenant_key_place
from app.vault.sealing import DATA_KEY_BYTES, Place, Sealed, open_under, seal_under


class Secret(NamedTuple):
    """A tenant's key, unwrapped."""

    id: str
    value: bytes


_LAYERED = ("session_sealed", "proxy_sealed", "person_sealed")


def add_layer(content: Content, secret: Secret) -> Content:
    """Seal what is sealed in a backup once more, under its tenant's key."""
    return _through(content, lambda place, sealed: seal_under(secret.value, place, sealed), secret.id)


def remove_layer(content: Content, secret: Secret) -> Content:
    """Open what ``add_layer`` sealed.

    Raises:
        SealBroken: the key is another's.
    """
    return _through(content, lambda place, layered: open_under(secret.value, place, layered), None)


def _through(content: Content, turn: Callable[[Place, bytes], bytes], tenant_key_id: str | None) -> Content:
    def turned(member: str, value: bytes | None) -> bytes | None:
        place = Place(f"backup-layer-{member}", content.tenant.id, content.session.id)
        return None if value is None else turn(place, value)

    members = {name: turned(name, getattr(content, name)) for name in _LAYERED}
    telegram_sealed = turned("telegram_sealed", content.tenant.telegram_sealed)
    tenant = content.tenant.model_copy(update={"telegram_sealed": telegram_sealed})
    return content.model_copy(update={**members, "tenant": tenant, "tenant_key_id": tenant_key_id})


class TenantKeys:
    """The tenants' keys for one run of the backup: made where there is none, and kept in the bucket. Safe for threads."""

    def __init__(self, transaction: Transaction, keyring: KeyRing, bucket: Bucket) -> None:
        self._transaction = transaction
        self._keyring = keyring
        self._bucket = bucket
        self._known: dict[str, Secret] = {}
        self._lock = threading.Lock()

    def secret(self, tenant_id: str) -> Secret:
        """A tenant's key, which is in the bucket from here on.

        Raises:
            SealBroken, KeyUnavailable, Transient, Permanent: the key that seals it, or the bucket, is not to be had.
        """
        with self._lock:
            if tenant_id not in self._known:
                row, key = self._row(tenant_id)
                place = tenant_key_place(tenant_id, row.id)
                value = self._keyring.open(place, Sealed(row.key_id, row.secret_sealed))
                self._store(row, key)
                self._known[tenant_id] = Secret(row.id, value)
            return self._known[tenant_id]

    def _row(self, tenant_id: str) -> tuple[TenantKey, EncryptionKey]:
        query = (
            select(TenantKey, EncryptionKey)
            .join(EncryptionKey, EncryptionKey.id == TenantKey.key_id)
            .where(TenantKey.tenant_id == tenant_id)
        )
        with self._transaction() as db:
            found = db.execute(query).one_or_none()
        if found is None:
            row_id = new_id("tky")
            sealed = self._keyring.seal(tenant_key_place(tenant_id, row_id), os.urandom(DATA_KEY_BYTES))
            with self._transaction() as db:
                db.execute(
                    insert(TenantKey)
                    .values(id=row_id, tenant_id=tenant_id, key_id=sealed.key_id, secret_sealed=sealed.ciphertext)
                    .on_conflict_do_nothing(index_elements=["tenant_id"])
                )
                found = db.execute(query).one()
        row, key = found
        return row, key

    def _store(self, row: TenantKey, key: EncryptionKey) -> None:
        content = TenantKeyContent(
            format="latchkey-tenant-key-1",
            id=row.id,
            tenant_id=row.tenant_id,
            key=describe_key(key),
            secret_sealed=row.secret_sealed,
        )
        body, checksum = encode(content)
        prefix = tenant_keys_prefix(row.tenant_id)
        object_key = f"{prefix}{row.id}.{checksum}.json"
        there = set(self._bucket.list_keys(prefix))
        if object_key not in there:
            self._bucket.put(object_key, body, locked=False)
        # The same key, as it was sealed before a rotation: what its data key is destroyed for must not lie about.
        self._bucket.delete([each for each in there if each.startswith(f"{prefix}{row.id}.") and each != object_key])


class StoredTenantKey(NamedTuple):
    """A tenant's key out of the bucket, with what it came from."""

    secret: Secret
    content: TenantKeyContent
    key: OpenedKey


def find_tenant_key(keys: BackupKeys, tenant_id: str, tenant_key_id: str) -> StoredTenantKey:
    """A tenant's key by its id, out of nothing but the bucket; looked up once in the life of ``keys``.

    Raises:
        BackupCorrupt: it is not in the bucket (any more): the tenant was purged, or somebody has deleted it.
        Transient: the bucket or the key provider is away.
    """
    found = keys.once(f"{tenant_id}/{tenant_key_id}", lambda: _find(keys, tenant_id, tenant_key_id))
    if found is None:
        raise BackupCorrupt("Its tenant's key is not in the bucket: the tenant was purged, or the key was deleted.")
    return found


def _find(keys: BackupKeys, tenant_id: str, tenant_key_id: str) -> StoredTenantKey | None:
    for object_key in keys.bucket.list_keys(f"{tenant_keys_prefix(tenant_id)}{tenant_key_id}."):
        checksum = object_key.rpartition("/")[2].removesuffix(".json").rpartition(".")[2]
        try:
            content = decode(keys.bucket.get(object_key), TenantKeyContent, checksum=checksum)
            key = keys.unwrap(content.key)
            value = open_under(key.data_key, tenant_key_place(tenant_id, tenant_key_id), content.secret_sealed)
        except Permanent:
            continue  # somebody else's, or sealed under a key that is gone: another one may be good
        return StoredTenantKey(Secret(tenant_key_id, value), content, key)
    return None
