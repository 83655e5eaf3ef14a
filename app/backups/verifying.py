"""Verifying backups: a random sample is downloaded and opened, from nothing but the bucket and the key encryption keys."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session as DatabaseSession

from app.backups.bucket import Bucket, ObjectMissing
from app.backups.content import BackupCorrupt
from app.backups.gaps import find_gaps
from app.backups.manifest import read_manifest
from app.backups.names import MANIFESTS, ObjectName, parse_name
from app.backups.opening import download_backup, open_backup
from app.backups.wrappings import BackupKeys
from app.database import Transaction
from app.errors import AppError, Permanent
from app.ids import new_id
from app.logs import get_logger
from app.metrics import Metrics
from app.models import BackupObject, TelegramSession
from app.vault.audit import record_event
from app.vault.keyring import KeyRing

_MANIFESTS = 20  # the newest, looked at each time

_log = get_logger(__name__)


@dataclass
class VerifyReport:
    """What a sample looked like. Keys of objects; ``unavailable``: the key encryption key, or the object, was not to be had.

    ``gaps``: ids of living sessions whose newest backup is not in the bucket. ``foreign``: tombstones and manifests not ours.
    """

    verified: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unavailable: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether every object of the sample opened."""
        return not (self.corrupt or self.missing or self.unavailable or self.gaps or self.foreign)


def verify_backups(
    *,
    transaction: Transaction,
    engine: Engine,
    keyring: KeyRing,
    bucket: Bucket,
    metrics: Metrics,
    actor: str,
    trusted: Collection[str] = (),
    sample: int = 20,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> VerifyReport:
    """Open the newest backup of ``sample`` random sessions, each with an audit row; and look at the bucket as a whole.

    What is missing or corrupt is logged, counted, and backed up again by the next run. So is a living session whose newest
    backup is not there (a gap). The newest manifests are read; one that is not ours is reported.

    Args:
        engine: for the connection that holds the bucket's listing.
        trusted: see ``BackupKeys``.

    Raises:
        Transient: the bucket or the key provider is away.
    """
    report, keys = VerifyReport(), BackupKeys(bucket, keyring, why="to verify backups", trusted=trusted)
    _look_at_whole(report, transaction, engine, bucket, keys)
    metrics.backup_gaps.set(len(report.gaps))
    with transaction() as db:
        chosen = _choose(db, sample)
    for done, name in enumerate(chosen, start=1):
        outcome, reason = _look(bucket, name, keys)
        getattr(report, outcome).append(name.object_key)
        metrics.backups.labels(outcome=outcome).inc()
        with transaction() as db:
            _note(db, name, outcome, reason, actor)
        on_progress(done, len(chosen))
    return report


def _look_at_whole(
    report: VerifyReport, transaction: Transaction, engine: Engine, bucket: Bucket, keys: BackupKeys
) -> None:
    gaps = find_gaps(transaction=transaction, engine=engine, bucket=bucket, keys=keys)
    report.gaps, report.foreign = gaps.sessions, gaps.foreign
    newest = deque(bucket.list_keys(MANIFESTS), maxlen=_MANIFESTS)
    for object_key in newest:
        try:
            list(read_manifest(bucket, object_key, keys))
        except BackupCorrupt:
            report.foreign.append(object_key)
        except Permanent as exc:  # its key is not to be had: what is sealed under the same key says so
            _log.warning("backups.manifest_not_read", manifest=object_key, detail=exc.detail)
    if report.gaps:
        _log.error("backups.gaps", sessions=len(report.gaps), first=report.gaps[:5])
    for object_key in report.foreign:
        _log.error("backups.foreign_object", object=object_key)


def _choose(db: DatabaseSession, sample: int) -> list[ObjectName]:
    everything = db.scalars(
        select(BackupObject.session_id).distinct().order_by(BackupObject.session_id).limit(sample + 1)
    ).all()
    if len(everything) <= sample:
        session_ids = list(everything)
    else:
        # Ids are random: the first one after a random point is as good as any, and one probe of the index.
        session_ids = [_first_after(db, new_id("ses")) or everything[0] for _ in range(sample)]
    newest = (_newest_of(db, session_id) for session_id in dict.fromkeys(session_ids))
    return [name for name in newest if name is not None]


def _first_after(db: DatabaseSession, point: str) -> str | None:
    return db.scalar(
        select(BackupObject.session_id)
        .where(BackupObject.session_id > point)
        .order_by(BackupObject.session_id)
        .limit(1)
    )


def _newest_of(db: DatabaseSession, session_id: str) -> ObjectName | None:
    newest = db.scalars(
        select(BackupObject.object_key)
        .where(BackupObject.session_id == session_id)
        .order_by(BackupObject.backed_up_at.desc())
        .limit(1)
    ).one()
    name = parse_name(newest)
    return None if name is None or name.is_tombstone else name


def _look(bucket: Bucket, name: ObjectName, keys: BackupKeys) -> tuple[str, AppError | None]:
    try:
        open_backup(name, download_backup(bucket, name), keys)
    except ObjectMissing as exc:
        return "missing", exc
    except BackupCorrupt as exc:
        return "corrupt", exc
    except Permanent as exc:
        return "unavailable", exc
    return "verified", None


def _note(db: DatabaseSession, name: ObjectName, outcome: str, reason: AppError | None, actor: str) -> None:
    detail = reason.detail if reason is not None else None
    record_event(
        db,
        tenant_id=name.tenant_id,
        actor=actor,
        action=f"backup.{outcome}",
        subject=name.session_id,
        reason=detail or "random sample",
        details={"object": name.object_key},
    )
    if outcome in ("missing", "corrupt"):
        _log.error("backup.unusable", object=name.object_key, outcome=outcome, detail=detail)
        db.execute(
            update(TelegramSession)
            .where(TelegramSession.id == name.session_id, TelegramSession.session_sealed.is_not(None))
            .values(backed_up_version=None)
        )
