"""Wrapped keys in the bucket, one object for each wrapping a key has had.

A session's object holds the wrapping of its day. After keys were rewrapped, the newer wrapping here opens the old objects
too, and the old key encryption key is not needed any more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import select

from app.backups.bucket import Bucket
from app.backups.content import BackupCorrupt, KeyContent, decode, encode
from app.backups.names import KEYS
from app.database import Transaction
from app.errors import SealBroken
from app.models import EncryptionKey
from app.vault.keyring import KeyRing
from app.vault.wrapping import KeyUnavailable

T = TypeVar("T")


def store_wrappings(transaction: Transaction, bucket: Bucket) -> int:
    """Store each wrapping that the bucket does not have yet; returns how many."""
    with transaction() as db:
        rows = db.scalars(select(EncryptionKey).where(EncryptionKey.wrapped_key.is_not(None))).all()
    there = set(bucket.list_keys(KEYS))
    added = 0
    for row in rows:
        body, checksum = encode(describe_key(row))
        object_key = f"{KEYS}{row.id}/{checksum}.json"
        if object_key not in there:
            bucket.put(object_key, body)
            added += 1
    return added


def drop_wrappings(transaction: Transaction, bucket: Bucket) -> int:
    """Delete the wrappings of destroyed keys; returns how many. A key that the database does not know is kept."""
    with transaction() as db:
        destroyed = db.scalars(select(EncryptionKey.id).where(EncryptionKey.state == "destroyed")).all()
    doomed = [object_key for key_id in destroyed for object_key in bucket.list_keys(f"{KEYS}{key_id}/")]
    return len(bucket.delete(doomed))


def describe_key(row: EncryptionKey) -> KeyContent:
    """A key's row as objects have it."""
    assert row.wrapped_key is not None
    return KeyContent(
        key_id=row.id,
        provider=row.provider,
        wrapping_key_id=row.wrapping_key_id,
        wrapped_key=row.wrapped_key,
        created_at=row.created_at,
    )


@dataclass(frozen=True)
class OpenedKey:
    """An unwrapped key, and the wrapping that it came out of."""

    content: KeyContent
    data_key: bytes = field(repr=False)


class BackupKeys:
    """Unwraps the keys of objects, each once, from nothing but the bucket and the key encryption keys. Safe for threads.

    Holds them as long as it lives: make one for a run.

    Args:
        why: for the audit of the unwraps.
        trusted: wrapping keys (ARNs of KMS) that may be asked, beside the one that wraps now and those that the database knows.
            Any other key that an object names may be somebody else's, who planted the object: it is not asked.
    """

    def __init__(self, bucket: Bucket, keyring: KeyRing, *, why: str, trusted: Collection[str] = ()) -> None:
        self._trusted: frozenset[str] | None = None
        self._listed = frozenset(trusted)
        self.bucket = bucket
        self._keyring = keyring
        self._why = why
        self._opened: dict[str, OpenedKey | BackupCorrupt | KeyUnavailable] = {}
        self._unwrapping = threading.Lock()
        self._found: dict[str, Any] = {}
        self._finding = threading.Lock()

    def unwrap(self, stored: KeyContent) -> OpenedKey:
        """Unwrap the key of an object.

        Raises:
            BackupCorrupt: no wrapping of it opens.
            KeyUnavailable: the key encryption key of none of its wrappings is to be had.
            Transient: the bucket or the key provider is away.
        """
        with self._unwrapping:
            if stored.key_id not in self._opened:
                self._opened[stored.key_id] = self._try_each(stored)
            opened = self._opened[stored.key_id]
        if isinstance(opened, Exception):
            raise opened
        return opened

    def once(self, name: str, find: Callable[[], T]) -> T:
        """What was found under a name, in the life of these keys; one look at a time."""
        with self._finding:
            if name not in self._found:
                self._found[name] = find()
            found: T = self._found[name]
        return found

    def _try_each(self, stored: KeyContent) -> OpenedKey | BackupCorrupt | KeyUnavailable:
        refusal: BackupCorrupt | KeyUnavailable = BackupCorrupt(f"Its key {stored.key_id} does not unwrap.")
        for content in (*self._newer_wrappings(stored.key_id), stored):
            if not self._is_trusted(content):
                refusal = BackupCorrupt(
                    f"Its key was wrapped by {content.wrapping_key_id}, which is on no list of ours."
                )
                continue
            try:
                return OpenedKey(content, self._keyring.unwrap(content.to_wrapped(), self._why))
            except SealBroken:
                continue
            except KeyUnavailable as exc:
                refusal = exc
        return refusal

    def _is_trusted(self, content: KeyContent) -> bool:
        if content.provider == "local":  # a key is in the file, or it is not
            return True
        if self._trusted is None:
            self._trusted = self._listed | self._keyring.known_wrapping_keys()
        return content.wrapping_key_id in self._trusted

    def _newer_wrappings(self, key_id: str) -> list[KeyContent]:
        found = []
        for object_key in self.bucket.list_keys(f"{KEYS}{key_id}/"):
            checksum = object_key.rpartition("/")[2].removesuffix(".json")
            try:
                content = decode(self.bucket.get(object_key), KeyContent, checksum=checksum)
            except BackupCorrupt:
                continue  # the session's own object has a wrapping as well
            if content.key_id == key_id:
                found.append(content)
        return found
