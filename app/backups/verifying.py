"""Verifying backups: a random sample is downloaded and opened, from nothing but the bucket and the key encryption keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import select, update
from sqlalchemy.orm import Session as DatabaseSession

from app.backups.bucket import Bucket, ObjectMissing
from app.backups.content import BackupCorrupt
from app.backups.names import ObjectName, parse_name
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

_log = get_logger(__name__)


@dataclass
class VerifyReport:
    """What a sample looked like. Keys of objects; ``unavailable``: the key encryption key, or the object, was not to be had."""

    verified: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unavailable: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether every object of the sample opened."""
        return not (self.corrupt or self.missing or self.unavailable)


def verify_backups(
    *,
    transaction: Transaction,
    keyring: KeyRing,
    bucket: Bucket,
    metrics: Metrics,
    actor: str,
    sample: int = 20,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> VerifyReport:
    """Open the newest backup of ``sample`` sessions chosen at random, each with an audit row.

    What is missing or corrupt is logged, counted, and backed up again by the next run.

    Raises:
        Transient: the bucket or the key provider is away.
    """
    report, keys = VerifyReport(), BackupKeys(bucket, keyring, why="to verify backups")
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
