"""Retention: rows that were kept for long enough are pruned, by settings, in small transactions.

- Ended logins, ``LOGIN_RETENTION_DAYS`` after their end; not while an auth key of theirs is still to be logged out.
- Idempotency keys, after a day.
- Outbox rows, ``WEBHOOK_RETENTION_DAYS`` after they were queued, delivered or not.
- Links to log in again, ``WEBHOOK_RETENTION_DAYS`` after their event.
- Audit events, ``AUDIT_RETENTION_DAYS`` after they happened; their seals a day later.
- Records of backup runs, ``BACKUP_RETENTION_DAYS`` after they ended; the newest one and the newest complete one stay.

``docs/retention.md`` says the same of everything that is stored.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, delete, func, select
from sqlalchemy.orm import InstrumentedAttribute

from app.clock import utc_now
from app.core import Core
from app.logs import get_logger
from app.models import (
    AuditEvent,
    AuditSeal,
    BackupRun,
    IdempotencyKey,
    LeavingAuthKey,
    Login,
    LoginLink,
    WebhookMessage,
)

BATCH_ROWS = 1000
_LIMIT_SECONDS = 60.0
_DAY = timedelta(days=1)

_log = get_logger(__name__)


def prune(core: Core, *, limit_seconds: float = _LIMIT_SECONDS) -> dict[str, int]:
    """Delete what has been kept for long enough, a batch per transaction; the next run goes on.

    Args:
        limit_seconds: no batch begins after that long.

    Returns:
        How many rows went, by table; zeros left out.

    Raises:
        Unavailable: PostgreSQL is away; what was committed stays.
    """
    stop_at = time.monotonic() + limit_seconds
    pruned: dict[str, int] = {}
    for table, batch in _batches(core).items():
        while time.monotonic() < stop_at:
            rows = _delete_batch(core, batch)
            if rows:
                pruned[table] = pruned.get(table, 0) + rows
                core.metrics.pruned_rows.labels(table=table).inc(rows)
            if rows < BATCH_ROWS:
                break
    if pruned:
        _log.info("rows.pruned", **pruned)
    return pruned


def old_logins(*, days: float) -> Select[Any]:
    """A batch of ended logins that may go."""
    leaving = select(LeavingAuthKey.id).where(LeavingAuthKey.login_id == Login.id).exists()
    return _batch(Login.id, Login.finished_at, days, ~leaving)


def old_idempotency_keys() -> Select[Any]:
    """A batch of idempotency keys that no call may repeat any more."""
    return _batch(IdempotencyKey.id, IdempotencyKey.created_at, 1)


def old_outbox_rows(*, days: float) -> Select[Any]:
    """A batch of events that were delivered, or that nobody took."""
    return _batch(WebhookMessage.id, WebhookMessage.created_at, days)


def old_login_links(*, days: float) -> Select[Any]:
    """A batch of links that nobody opened."""
    return _batch(LoginLink.id, LoginLink.created_at, days)


def old_audit_events(*, days: float) -> Select[Any]:
    """A batch of audit events."""
    return _batch(AuditEvent.id, AuditEvent.at, days, lock=False)


def old_audit_seals(*, days: float) -> Select[Any]:
    """A batch of the audit's seals; a day after what they cover, so that none is missed while that is pruned."""
    return _batch(AuditSeal.position, AuditSeal.last_event_at, days + 1, lock=False)


def old_backup_runs(*, days: float) -> Select[Any]:
    """A batch of records of backup runs: the age of the last good one is told from what stays."""
    newest = select(func.max(BackupRun.finished_at)).scalar_subquery()
    newest_complete = select(func.max(BackupRun.finished_at)).where(BackupRun.complete).scalar_subquery()
    kept = (BackupRun.finished_at < newest) & (BackupRun.finished_at < func.coalesce(newest_complete, newest))
    return _batch(BackupRun.id, BackupRun.finished_at, days, kept)


def _batches(core: Core) -> dict[str, Select[Any]]:
    settings = core.settings
    return {
        "idempotency_keys": old_idempotency_keys(),
        "logins": old_logins(days=settings.login_retention_days),
        "webhook_outbox": old_outbox_rows(days=settings.webhook_retention_days),
        "login_links": old_login_links(days=settings.webhook_retention_days),
        "audit_events": old_audit_events(days=settings.audit_retention_days),
        "audit_seals": old_audit_seals(days=settings.audit_retention_days),
        "backup_runs": old_backup_runs(days=settings.backup_retention_days),
    }


def _batch(
    name: InstrumentedAttribute[Any],
    moment: InstrumentedAttribute[Any],
    days: float,
    *conditions: ColumnElement[bool],
    lock: bool = True,
) -> Select[Any]:
    """Up to ``BATCH_ROWS`` of a table's rows that are older, the oldest first; those that somebody has locked are left.

    Args:
        lock: False where the service may not lock rows, because it may not change them: the audit.
    """
    batch = select(name).where(moment < utc_now() - days * _DAY, *conditions).order_by(moment).limit(BATCH_ROWS)
    return batch.with_for_update(skip_locked=True, of=name.class_) if lock else batch


def _delete_batch(core: Core, batch: Select[Any]) -> int:
    (name,) = batch.selected_columns
    column: Any = name
    doomed: CTE = batch.cte("doomed")
    with core.transaction() as db:
        gone = db.execute(
            delete(column.table)
            .where(column.in_(select(doomed.c[column.key])))
            .execution_options(synchronize_session=False)
        )
        return int(gone.rowcount)  # type: ignore[attr-defined]  # a DELETE's result has it
