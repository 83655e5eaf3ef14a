"""The backup: every session that changed since its last backup becomes an object that is never overwritten.

Batch by batch: read what is due, store the objects and the batch's part of the manifest, then mark the rows. A run that is
killed has stored at most one batch that is not marked; the next run stores it again under other names, and the expiry
removes what was superseded. A row that changed meanwhile stays due.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Engine

from app.backups.alone import alone
from app.backups.authentic import Signer, make_signer
from app.backups.bucket import PARALLEL, Bucket
from app.backups.due import Due, count_due, find_due, list_objects, make_object, mark_backed_up, read_clock
from app.backups.manifest import store_manifest
from app.backups.names import ObjectName
from app.backups.tenant_keys import TenantKeys
from app.backups.wrappings import store_wrappings
from app.clock import utc_now
from app.database import Transaction
from app.errors import AppError, Permanent, SealBroken, Transient
from app.ids import new_id
from app.logs import get_logger
from app.metrics import Metrics
from app.models import BackupRun
from app.vault.keyring import KeyRing
from app.vault.wrapping import KeyUnavailable

BATCH_ROWS = 500

_log = get_logger(__name__)


@dataclass
class BackupReport:
    """What a run did. ``complete``: nothing that was due at its start is left."""

    run_id: str
    started_at: datetime
    backed_up: int = 0
    erased: int = 0
    failed: int = 0
    complete: bool = False


def back_up_sessions(
    *,
    transaction: Transaction,
    engine: Engine,
    keyring: KeyRing,
    bucket: Bucket,
    metrics: Metrics,
    batch_rows: int = BATCH_ROWS,
    limit_seconds: float = 600.0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> BackupReport | None:
    """Back up what changed; see the module. May be repeated; of runs at the same time one does the work.

    Args:
        engine: for the connection that holds the run's lock.
        keyring: seals what of a tenant's row is secret.
        limit_seconds: start no batch after this; the next run goes on.
        on_progress: called with the rows done and their total, after each batch.

    Returns:
        The report, or None when another run is under way.

    Raises:
        Transient: the bucket or the key provider is away: not one object of a batch could be stored.
        Permanent: the bucket refuses us.
    """
    with alone(engine) as mine:
        if not mine:
            return None
        report = BackupReport(run_id=new_id("bak"), started_at=utc_now())
        store_wrappings(transaction, bucket)
        try:
            signer = make_signer(transaction, keyring)
            run = _Run(
                transaction, signer, TenantKeys(transaction, keyring, bucket), bucket, batch_rows, report, keys_away={}
            )
            _run(run, time.monotonic() + limit_seconds, on_progress)
        finally:
            for outcome in ("backed_up", "erased", "failed"):
                metrics.backups.labels(outcome=outcome).inc(getattr(report, outcome))
        _record(transaction, report)
    return report


class _Run(NamedTuple):
    transaction: Transaction
    signer: Signer
    tenant_keys: TenantKeys
    bucket: Bucket
    batch_rows: int
    report: BackupReport
    keys_away: dict[str, AppError]


def _run(run: _Run, deadline: float, on_progress: Callable[[int, int], None]) -> None:
    report, after, done, part = run.report, "", 0, 0
    with run.transaction() as db:
        total = count_due(db)
    on_progress(0, total)
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="backup") as threads:
        while time.monotonic() < deadline:
            with run.transaction() as db:
                now, batch = read_clock(db), find_due(db, after=after, limit=run.batch_rows)
            if not batch:
                report.complete = report.failed == 0
                return
            _back_up_batch(run, threads, batch, part, now)
            after, done, part = batch[-1].session.id, done + len(batch), part + 1
            on_progress(done, max(total, done))


def _back_up_batch(run: _Run, threads: ThreadPoolExecutor, batch: Sequence[Due], part: int, now: datetime) -> None:
    report = run.report
    outcomes = list(threads.map(lambda due: _store(run, due, now), batch))
    failures = [outcome for outcome in outcomes if isinstance(outcome, AppError)]
    report.failed += len(failures)
    names = [outcome for outcome in outcomes if isinstance(outcome, ObjectName)]
    if not names:
        # A key that is not to be had is its sessions' trouble; all else is the bucket's or the key provider's.
        away = next((each for each in failures if not isinstance(each, SealBroken | KeyUnavailable)), None)
        if away is not None:
            raise away
        return
    store_manifest(
        run.bucket,
        run.signer,
        run_id=report.run_id,
        started_at=report.started_at,
        part=part,
        created_at=now,
        objects=names,
    )
    with run.transaction() as db:
        list_objects(db, names)
        stored = [due for due, outcome in zip(batch, outcomes, strict=True) if isinstance(outcome, ObjectName)]
        mark_backed_up(db, stored, now)
    tombstones = sum(name.is_tombstone for name in names)
    report.erased += tombstones
    report.backed_up += len(names) - tombstones


def _store(run: _Run, due: Due, now: datetime) -> ObjectName | AppError:
    key_id = due.key.id if due.key is not None else ""
    if key_id in run.keys_away:  # asked once a run is enough
        return run.keys_away[key_id]
    try:
        body, name = make_object(due, run.signer, run.tenant_keys, now)
        run.bucket.put(name.object_key, body)
    except (SealBroken, KeyUnavailable) as exc:
        _log.error("backup.key_away", key_id=key_id, detail=exc.detail)
        run.keys_away[key_id] = exc
        return exc
    except (Transient, Permanent) as exc:
        _log.warning("backup.failed", session_id=due.session.id, detail=exc.detail)
        return exc
    return name


def _record(transaction: Transaction, report: BackupReport) -> None:
    with transaction() as db:
        db.add(
            BackupRun(
                id=report.run_id,
                started_at=report.started_at,
                finished_at=utc_now(),
                backed_up=report.backed_up,
                erased=report.erased,
                failed=report.failed,
                complete=report.complete,
            )
        )
