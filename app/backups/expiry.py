"""Expiry: what nobody can ask for any more leaves the bucket.

An object expires when its successor is older than the retention: until then it is what a restore to some moment within the
retention brings back. The newest of a session never expires, whatever its age; a tombstone does, once it is alone.

Only the bucket says what may go. A database that knows less (a lost one, a restored one) makes nothing expire: what a
session's end leaves behind is a tombstone, and that is written only for what the database can tell has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby, pairwise

from sqlalchemy import Engine, delete, exists, func, select
from sqlalchemy.orm import aliased

from app.backups.alone import alone
from app.backups.authentic import make_signer
from app.backups.bucket import Bucket
from app.backups.due import after_last, list_found_objects, list_objects, make_tombstone, read_clock
from app.backups.names import SESSIONS, ObjectName, parse_name
from app.backups.opening import check_object
from app.backups.wrappings import BackupKeys, drop_wrappings
from app.clock import utc_now
from app.database import Transaction
from app.errors import Permanent
from app.logs import get_logger
from app.metrics import Metrics
from app.models import BackupObject, BackupRun, TelegramSession
from app.vault.keyring import KeyRing

_BATCH = 1000

_log = get_logger(__name__)


@dataclass
class ExpiryReport:
    """What expired; ``kept`` counts expired objects that the bucket would not delete, a lock's for example.

    ``foreign`` has the keys of objects that are not ours: they let nothing expire, and are left for somebody to look at.
    """

    looked_at: int = 0
    expired: int = 0
    kept: int = 0
    tombstones: int = 0
    foreign: list[str] = field(default_factory=list)
    complete: bool = False


def expire_backups(
    *,
    transaction: Transaction,
    engine: Engine,
    keyring: KeyRing,
    bucket: Bucket,
    metrics: Metrics,
    retention: timedelta,
    trusted: Collection[str] = (),
    now: datetime | None = None,
    limit_seconds: float = 1800.0,
    on_progress: Callable[[int], None] = lambda looked_at: None,
) -> ExpiryReport | None:
    """Delete what expired; see the module. May be repeated; of runs at the same time one does the work.

    Args:
        engine: for the connection that holds the run's lock.
        keyring: signs tombstones, and tells objects of ours from what somebody else has put into the bucket.
        trusted: wrapping keys beside those that the database knows; see ``BackupKeys``.
        now: the time that ``retention`` is counted back from; None: the clock's.
        on_progress: called with the objects looked at, after each page.

    Returns:
        The report, or None when another run or a backup is under way.

    Raises:
        Transient, Permanent: the bucket is away, or refuses us.
    """
    horizon, deadline = (now or utc_now()) - retention, time.monotonic() + limit_seconds
    with alone(engine) as mine:
        if not mine:
            return None
        keys = BackupKeys(bucket, keyring, why="to expire backups", trusted=trusted)
        report = ExpiryReport(tombstones=_bury_deleted(transaction, keyring, bucket))
        for looked_at, doomed, kept in _doomed_pages(bucket, horizon, keys, report.foreign):
            with transaction() as db:
                list_found_objects(db, kept)
            gone = bucket.delete(doomed)
            _forget(transaction, gone)
            metrics.backups.labels(outcome="expired").inc(len(gone))
            report.looked_at = looked_at
            report.expired += len(gone)
            report.kept += len(doomed) - len(gone)
            on_progress(looked_at)
            if time.monotonic() > deadline:
                return report
        drop_wrappings(transaction, bucket)
        _drop_runs(transaction, horizon)
        report.complete = True
    return report


def expired_of(names: list[ObjectName], horizon: datetime) -> list[ObjectName]:
    """Of one session's objects, in the order of time and all of them ours, those that expired."""
    if len(names) == 1:
        return [name for name in names if name.is_tombstone and name.backed_up_at <= horizon]
    return [name for name, successor in pairwise(names) if successor.backed_up_at <= horizon]


def _doomed_pages(
    bucket: Bucket, horizon: datetime, keys: BackupKeys, foreign: list[str]
) -> Iterator[tuple[int, list[str], list[ObjectName]]]:
    """Walk the bucket session by session; yields the count so far, keys to delete and what stays, every thousand or so."""
    looked_at, doomed, kept, reported = 0, list[str](), list[ObjectName](), 0
    names = (name for key in bucket.list_keys(SESSIONS) if (name := parse_name(key)) is not None)
    for _, group in groupby(names, key=lambda name: (name.tenant_id, name.session_id)):
        session = list(group)
        looked_at += len(session)
        expired = expired_of(session, horizon)
        if expired:
            # Only now is anything opened: what lets nothing expire may be what it likes.
            ours, others = _tell_apart(bucket, session, keys)
            foreign += others
            expired = expired_of(ours, horizon)
            session = ours
        doomed += [name.object_key for name in expired]
        kept += [name for name in session if name not in expired]
        if looked_at - reported >= _BATCH or len(doomed) >= _BATCH:
            yield looked_at, doomed, kept
            doomed, kept, reported = [], [], looked_at
    yield looked_at, doomed, kept


def _tell_apart(bucket: Bucket, session: list[ObjectName], keys: BackupKeys) -> tuple[list[ObjectName], list[str]]:
    """A session's objects that are ours, and the keys of the others. The oldest lets nothing else expire: it is not opened.

    One whose key is not to be had now is none of ours as far as anybody can tell: nothing expires for it.
    """
    ours, foreign = list[ObjectName](), list[str]()
    for name in session:
        try:
            if len(session) == 1 or name is not session[0]:
                check_object(bucket, name, keys)
        except Permanent as exc:
            _log.error("backups.foreign_object", object=name.object_key, detail=exc.detail)
            foreign.append(name.object_key)
        else:
            ours.append(name)
    return ours, foreign


def _forget(transaction: Transaction, object_keys: list[str]) -> None:
    for start in range(0, len(object_keys), _BATCH):
        with transaction() as db:
            db.execute(delete(BackupObject).where(BackupObject.object_key.in_(object_keys[start : start + _BATCH])))


def _drop_runs(transaction: Transaction, horizon: datetime) -> None:
    # The last complete run stays, however long ago: the age of the backup is counted from it.
    last_complete = select(func.max(BackupRun.finished_at)).where(BackupRun.complete).scalar_subquery()
    with transaction() as db:
        db.execute(delete(BackupRun).where(BackupRun.finished_at < horizon, BackupRun.finished_at < last_complete))


def _bury_deleted(transaction: Transaction, keyring: KeyRing, bucket: Bucket) -> int:
    """Put tombstones on sessions whose rows were deleted, with their tenant say: we listed a backup, there is no row."""
    tomb = aliased(BackupObject)
    deleted = (
        select(
            BackupObject.tenant_id,
            BackupObject.session_id,
            func.max(BackupObject.version),
            func.max(BackupObject.backed_up_at),
        )
        .where(
            ~exists().where(TelegramSession.id == BackupObject.session_id),
            ~exists().where(
                tomb.session_id == BackupObject.session_id,
                tomb.key_id.is_(None),
                tomb.backed_up_at >= BackupObject.backed_up_at,
            ),
        )
        .group_by(BackupObject.tenant_id, BackupObject.session_id)
        .limit(_BATCH)
    )
    buried = 0
    while True:
        with transaction() as db:
            now, rows = read_clock(db), db.execute(deleted).all()
        if not rows:
            return buried
        names, signer = [], make_signer(transaction, keyring)
        for tenant_id, session_id, version, last in rows:
            body, name = make_tombstone(
                signer, tenant_id=tenant_id, session_id=session_id, version=version, now=after_last(now, last)
            )
            bucket.put(name.object_key, body)
            names.append(name)
        with transaction() as db:
            list_objects(db, names)
        buried += len(names)
