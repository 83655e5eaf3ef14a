"""Rotation: a new active key when its time has come, everything re-sealed under it, old keys retired.

Any number of rotations may run, and be killed, at any point, while everybody goes on sealing and opening:

1. The active key is replaced in one transaction. The old one opens on; nothing is moved yet.
2. Rows are re-sealed in batches. A batch locks its rows (those that somebody is writing are skipped, for the next run),
   re-seals what it finds there now, writes ciphertexts and key id together, and commits. What is done is done: what is left
   is whatever is under another key than the active one, which is also how a run that was killed goes on.
3. An old key that nothing needs any more is retired, once no process can still take it for the active one. One that
   turns out to be needed after all (restored rows, a worker that slept through it all) is a retiring one again, and so
   re-sealed by the next run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import func, select, update

from app.clock import utc_now
from app.database import Transaction
from app.models import EncryptionKey
from app.vault.audit import record_event
from app.vault.keyring import ACTIVE_SECONDS, KeyRing
from app.vault.needs import key_is_needed
from app.vault.places import SEALED_TABLES
from app.vault.resealing import BATCH_ROWS, Batch, reseal_rows

RETIRE_AFTER = timedelta(seconds=15 * ACTIVE_SECONDS)
"""How long a key opens before it may retire: no process takes it for active by then, no transaction is that old."""

HELP_FROM_ROWS = 20_000
"""From so many rows on two workers share a rotation: one of them does that many in a few seconds."""


@dataclass
class RotationReport:
    """What a rotation did. ``left`` counts rows still under old keys: live logins, locked and broken rows, an early end."""

    active_key_id: str
    replaced: bool
    resealed: int = 0
    left: int = 0
    broken: list[str] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)


class Progress(NamedTuple):
    """How far a rotation is, in rows."""

    done: int
    total: int


def rotate_keys(
    *,
    transaction: Transaction,
    keyring: KeyRing,
    actor: str,
    max_age: timedelta,
    force: bool = False,
    batch_rows: int = BATCH_ROWS,
    retire_after: timedelta = RETIRE_AFTER,
    limit_seconds: float = 3600.0,
    on_progress: Callable[[Progress], None] = lambda _: None,
    call_help: Callable[[], object] = lambda: None,
    help_from_rows: int = HELP_FROM_ROWS,
) -> RotationReport:
    """Rotate; see the module. May be repeated and run beside itself.

    Args:
        max_age: from this age on the active key is replaced.
        force: replace it whatever its age.
        limit_seconds: start no batch after this; the next run goes on.
        on_progress: called after each step that was committed.
        call_help: called once when there are ``help_from_rows`` to do, to have somebody ``help_rotation``.

    Raises:
        KeyUnavailable, Transient: a key cannot be unwrapped now; what was committed stays.
    """
    deadline = time.monotonic() + limit_seconds
    report = _replace_if_due(transaction, keyring, max_age=None if force else max_age)
    total = _count_old(transaction, report.active_key_id)
    on_progress(Progress(0, total))
    if total >= help_from_rows:
        call_help()
    for batch in _reseal_old(transaction, keyring, report.active_key_id, batch_rows):
        report.resealed += batch.resealed
        report.broken += batch.broken
        on_progress(Progress(report.resealed, total))
        if time.monotonic() > deadline:
            break
    report.left = _count_old(transaction, report.active_key_id)
    report.retired = settle_states(transaction, actor=actor, retire_after=retire_after)
    return report


def help_rotation(
    *, transaction: Transaction, keyring: KeyRing, batch_rows: int = BATCH_ROWS, limit_seconds: float = 3600.0
) -> int:
    """Re-seal rows beside a rotation that runs in another process. Replaces and retires no key; may be repeated.

    Args:
        limit_seconds: start no batch after this.

    Returns:
        How many rows it re-sealed.

    Raises:
        KeyUnavailable, Transient: as ``rotate_keys``.
    """
    deadline, resealed = time.monotonic() + limit_seconds, 0
    keyring.forget()  # the key that this process takes for active may be the one that is left
    for batch in _reseal_old(transaction, keyring, keyring.active_key_id(), batch_rows):
        resealed += batch.resealed
        if time.monotonic() > deadline:
            break
    return resealed


def settle_states(transaction: Transaction, *, actor: str, retire_after: timedelta = RETIRE_AFTER) -> list[str]:
    """Retire the retiring keys that nothing needs, and make retired ones that something needs retiring again.

    Returns:
        The ids of the retired ones.
    """
    now = utc_now()
    statement = update(EncryptionKey).returning(EncryptionKey.id).execution_options(synchronize_session=False)
    with transaction() as db:
        retired = db.scalars(
            statement.where(
                EncryptionKey.state == "retiring",
                EncryptionKey.state_changed_at <= now - retire_after,
                ~key_is_needed(),
            ).values(state="retired", state_changed_at=now)
        ).all()
        needed = db.scalars(
            statement.where(EncryptionKey.state == "retired", key_is_needed()).values(
                state="retiring", state_changed_at=now
            )
        ).all()
        for key_id, state in [*((each, "retired") for each in retired), *((each, "retiring") for each in needed)]:
            record_event(db, tenant_id=None, actor=actor, action=f"key.{state}", subject=key_id)
    return list(retired)


def _replace_if_due(transaction: Transaction, keyring: KeyRing, *, max_age: timedelta | None) -> RotationReport:
    with transaction() as db:
        active = db.scalar(select(EncryptionKey).where(EncryptionKey.state == "active"))
    if active is not None and max_age is not None and active.created_at > utc_now() - max_age:
        return RotationReport(active_key_id=active.id, replaced=False)
    active_key_id = keyring.replace_active(active.id if active is not None else None)
    keyring.forget()  # the others notice within ACTIVE_SECONDS, this process at once
    return RotationReport(active_key_id=active_key_id, replaced=True)


def _reseal_old(transaction: Transaction, keyring: KeyRing, active_key_id: str, batch_rows: int) -> Iterator[Batch]:
    return reseal_rows(
        transaction,
        keyring=keyring,
        old_key_ids=_old_keys(transaction, active_key_id),
        active_key_id=active_key_id,
        batch_rows=batch_rows,
    )


def _old_keys(transaction: Transaction, active_key_id: str) -> list[str]:
    with transaction() as db:
        return list(
            db.scalars(
                select(EncryptionKey.id)
                .where(EncryptionKey.id != active_key_id, EncryptionKey.state != "destroyed")
                .order_by(EncryptionKey.created_at)
            )
        )


def _count_old(transaction: Transaction, active_key_id: str) -> int:
    old = _old_keys(transaction, active_key_id)
    with transaction() as db:
        return sum(
            db.scalar(select(func.count()).select_from(table.model).where(table.model.key_id.in_(old))) or 0
            for table in SEALED_TABLES
        )
