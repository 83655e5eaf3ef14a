"""Expiry of manifests: one whose objects have all expired says nothing any more.

A session that never changes is listed by the run that stored it, however long ago: that manifest stays as long as the object.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from itertools import islice, takewhile

from sqlalchemy import select

from app.backups.bucket import Bucket
from app.backups.manifest import read_manifest
from app.backups.names import MANIFESTS, format_time
from app.backups.wrappings import BackupKeys
from app.clock import utc_now
from app.database import Transaction
from app.errors import Permanent
from app.logs import get_logger
from app.models import BackupObject
from app.vault.keyring import KeyRing

_AT_ONCE = 500  # read in one run, the oldest first; the next run goes on

_log = get_logger(__name__)


def expire_manifests(
    transaction: Transaction,
    keyring: KeyRing,
    bucket: Bucket,
    *,
    retention: timedelta,
    trusted: Collection[str] = (),
    limit: int = _AT_ONCE,
) -> int:
    """Delete manifests older than ``retention`` that list nothing that is still kept.

    One that cannot be read stays: it may say what is missing.

    Returns:
        How many went.
    """
    oldest_kept = MANIFESTS + format_time(utc_now() - retention)
    old = takewhile(lambda key: key < oldest_kept, bucket.list_keys(MANIFESTS))
    keys = BackupKeys(bucket, keyring, why="to expire manifests", trusted=trusted)
    doomed = [key for key in islice(old, limit) if _lists_nothing(transaction, bucket, key, keys)]
    gone = bucket.delete(doomed) if doomed else []
    if gone:
        _log.info("backups.manifests_expired", manifests=len(gone))
    return len(gone)


def _lists_nothing(transaction: Transaction, bucket: Bucket, manifest_key: str, keys: BackupKeys) -> bool:
    try:
        listed = [name.object_key for name in read_manifest(bucket, manifest_key, keys)]
    except Permanent as exc:
        _log.warning("backups.manifest_kept", manifest=manifest_key, detail=exc.detail)
        return False
    return not any(_catalogued(transaction, listed))


def _catalogued(transaction: Transaction, object_keys: list[str]) -> Iterator[bool]:
    for start in range(0, len(object_keys), 1000):
        batch = object_keys[start : start + 1000]
        with transaction() as db:
            yield (
                db.scalar(select(BackupObject.object_key).where(BackupObject.object_key.in_(batch)).limit(1))
                is not None
            )
