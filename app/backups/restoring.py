"""Restoring: sessions come back from nothing but the bucket and the key encryption keys.

1. List the bucket, and read the manifests, which say what should be there as well.
2. For each session take its newest backup of the asked time. One that is missing or corrupt is reported, and the one before
   serves in its place; a tombstone that is ours means that there is nothing to restore.
3. Each backup is opened for real before its row is written. What was in use comes back ``quarantined``: it is validated before
   anybody can use it, and not before the longest lease of the time before is over. A row that is as new is left alone.

May be killed and repeated at any point: what is restored already counts as left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from sqlalchemy import Engine

from app.backups.bucket import PARALLEL, Bucket, ObjectMissing
from app.backups.content import BackupCorrupt
from app.backups.due import list_found_objects
from app.backups.manifest import read_manifest
from app.backups.names import MANIFESTS, SESSIONS, ObjectName, parse_name, tenant_prefix
from app.backups.opening import OpenedBackup, check_tombstone, download_backup, open_backup
from app.backups.plan import Candidate, RestorePlan, open_plan
from app.backups.rows import RestoreOptions, write_sessions
from app.backups.wrappings import BackupKeys
from app.database import Transaction
from app.errors import AppError, Permanent
from app.vault.keyring import KeyRing

BATCH_SESSIONS = 100
LONGEST_LEASE = timedelta(hours=1)


class Problem(NamedTuple):
    """An object that could not be used, and what is wrong with it in a sentence."""

    object_key: str
    outcome: str
    detail: str


@dataclass
class RestoreReport:
    """What a restore did, or would do. ``left_alone``: rows that are as new; ``erased``: sessions that had ended."""

    sessions: int = 0
    restored: int = 0
    left_alone: int = 0
    erased: int = 0
    lost: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether every session came back from its newest backup."""
        return not self.problems


def restore_sessions(
    *,
    transaction: Transaction,
    engine: Engine,
    keyring: KeyRing,
    bucket: Bucket,
    actor: str,
    trusted: Collection[str] = (),
    at: datetime | None = None,
    tenant_id: str | None = None,
    dry_run: bool = False,
    validate_after: timedelta = LONGEST_LEASE,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> RestoreReport:
    """Restore sessions into a migrated database; see the module.

    Args:
        engine: for the connection that holds the plan.
        trusted: wrapping keys that may be asked, beside the present one and those that the database knows.
        at: bring back what was backed up then; None: the newest.
        tenant_id: only this tenant's; None: everybody's.
        dry_run: do everything, opening included, but write no row (unwraps are audited all the same).
        validate_after: how long restored sessions wait for their validation.
        on_progress: called with the sessions done and their total, after each batch.

    Returns:
        The report; ``lost`` has the ids of sessions none of whose backups could be used.

    Raises:
        Transient, Unavailable: the bucket, the key provider or PostgreSQL is away; what was restored stays.
        Permanent: the bucket refuses to be listed.
    """
    report = RestoreReport()
    keys = BackupKeys(bucket, keyring, why="to restore backups", trusted=trusted)
    options = RestoreOptions(actor=actor, dry_run=dry_run, validate_after=validate_after)
    with open_plan(engine) as plan, ThreadPoolExecutor(PARALLEL, thread_name_prefix="restore") as threads:
        _make_plan(plan, bucket, keys, tenant_id, report)
        report.sessions, done = plan.count_sessions(at), 0
        on_progress(0, report.sessions)
        for page in plan.pages(at, limit=BATCH_SESSIONS):
            found = threads.map(partial(_find, bucket, keys, at is not None), page)
            usable = [opened for opened in (_account(report, each) for each in found) if opened is not None]
            written = write_sessions(transaction, usable, options)
            if not dry_run:
                with transaction() as db:
                    list_found_objects(db, [each.name for candidates in page for each in candidates if each.listed])
            report.restored += len(written.restored)
            report.left_alone += len(written.left_alone)
            for opened in written.refused:
                _add_problem(report, opened.name, BackupCorrupt("Its key was destroyed in this database."))
                report.lost.append(opened.name.session_id)
            done += len(page)
            on_progress(done, report.sessions)
    return report


def _make_plan(
    plan: RestorePlan, bucket: Bucket, keys: BackupKeys, tenant_id: str | None, report: RestoreReport
) -> None:
    prefix = SESSIONS if tenant_id is None else tenant_prefix(tenant_id)
    plan.add((name for key in bucket.list_keys(prefix) if (name := parse_name(key)) is not None), listed=True)
    for object_key in bucket.list_keys(MANIFESTS):
        try:
            names = [name for name in read_manifest(bucket, object_key, keys) if tenant_id in (None, name.tenant_id)]
        except Permanent as exc:
            report.problems.append(_problem(object_key, exc))
            continue
        plan.add(names, listed=False)


class _Found(NamedTuple):
    """What a session's candidates came to: an opened backup, or none; ``erased``: a tombstone."""

    session_id: str
    opened: OpenedBackup | None
    erased: bool
    problems: Sequence[tuple[ObjectName, AppError]]


def _find(bucket: Bucket, keys: BackupKeys, of_the_past: bool, candidates: Sequence[Candidate]) -> _Found:
    problems: list[tuple[ObjectName, AppError]] = []
    # Older ones that are not listed have expired, as far as anybody can tell.
    for candidate in (candidates[0], *(older for older in candidates[1:] if older.listed)):
        name = candidate.name
        try:
            if name.is_tombstone:
                _check_listed(candidate)
                check_tombstone(bucket, name, keys)
                return _Found(name.session_id, None, True, problems)
            opened = replace(_open(bucket, keys, candidate), superseded=of_the_past or bool(problems))
        except Permanent as exc:  # one that the bucket refuses to hand out, too
            problems.append((name, exc))
        else:
            return _Found(name.session_id, opened, False, problems)
    return _Found(candidates[0].name.session_id, None, False, problems)


def _check_listed(candidate: Candidate) -> None:
    if not candidate.listed:
        raise ObjectMissing("A manifest lists it, and the bucket does not.")


def _open(bucket: Bucket, keys: BackupKeys, candidate: Candidate) -> OpenedBackup:
    _check_listed(candidate)
    return open_backup(candidate.name, download_backup(bucket, candidate.name), keys)


def _account(report: RestoreReport, found: _Found) -> OpenedBackup | None:
    for name, exc in found.problems:
        _add_problem(report, name, exc)
    report.erased += found.erased
    if found.opened is None and not found.erased:
        report.lost.append(found.session_id)
    return found.opened


def _add_problem(report: RestoreReport, name: ObjectName, exc: AppError) -> None:
    report.problems.append(_problem(name.object_key, exc))


def _problem(object_key: str, exc: AppError) -> Problem:
    return Problem(object_key, exc.code.removeprefix("backup_"), exc.detail)
