"""The audit's chain: each seal covers the rows since the last one, and the seal before it. Whoever changes or removes a row
breaks it.

A seal names the rows that it covers, because they commit in another order than they are numbered in. Its digest is SHA-256
over the one before and the rows. The newest one is logged each time: a chain that was rewritten as a whole does not lead to
the digest that is in the logs.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.database import Transaction
from app.logs import get_logger
from app.models import AuditEvent, AuditSeal

MOST_ROWS = 5000
_LOCK = 7_462_011_904  # one sealer at a time
_SETTLED = timedelta(seconds=5)
_LATEST_COMMIT = timedelta(
    hours=1
)  # a row that commits late says when its transaction began, which is never that long ago
_FIRST = b"\0" * 32

_log = get_logger(__name__)


class Verdict(NamedTuple):
    """What verifying found.

    Args:
        seals, rows: how many were looked at.
        unsealed: how many rows are newer than the newest seal.
        head: the newest seal's position and digest, as the log says them; None: there is none yet.
        problems: a sentence for each thing that is wrong.
    """

    seals: int
    rows: int
    unsealed: int
    head: str | None
    problems: list[str]


def seal_audit(transaction: Transaction, *, limit_seconds: float = 30.0) -> int:
    """Seal the rows that no seal covers yet, ``MOST_ROWS`` by each seal. Any number may run at once: one does it.

    Args:
        limit_seconds: begin no further seal after this; the next run goes on.

    Returns:
        How many rows were sealed.

    Raises:
        Unavailable: PostgreSQL is away; what was sealed before stays so.
    """
    give_up_at, sealed = time.monotonic() + limit_seconds, 0
    while True:
        rows = _add_seal(transaction)
        sealed += rows
        if rows < MOST_ROWS or time.monotonic() > give_up_at:
            return sealed


def _add_seal(transaction: Transaction) -> int:
    """Add one seal, if there is something to cover; how many rows it covers."""
    with transaction() as db:
        if not db.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK}):
            return 0
        last = db.scalar(select(AuditSeal).order_by(AuditSeal.position.desc()).limit(1))
        rows = _unsealed(db, last)
        if not rows:
            return 0
        previous = last.digest if last is not None else _FIRST
        before_at = last.last_event_at if last is not None else None
        seal = AuditSeal(
            event_ids=[row.id for row in rows],
            last_event_at=max(row.at for row in rows),
            previous=previous,
            previous_event_at=before_at,
            digest=_digest(previous, before_at, rows),
        )
        db.add(seal)
        db.flush()
        head = _head(seal)
    _log.info("audit.sealed", rows=len(rows), head=head)
    return len(rows)


def verify_audit(transaction: Transaction, *, retention_days: int, head: str | None = None) -> Verdict:
    """Follow the chain from its beginning to its end.

    Args:
        retention_days: rows that are older may have been pruned, and their seals with them.
        head: a seal as a log line named it; the chain must lead to it.

    Raises:
        Unavailable: PostgreSQL is away.
    """
    problems: list[str] = []
    cutoff = utc_now() - timedelta(days=retention_days)
    seals = rows = 0
    before: AuditSeal | None = None
    heads = {head} if head else set()
    with transaction() as db:
        for seal in db.scalars(select(AuditSeal).order_by(AuditSeal.position).execution_options(yield_per=500)):
            problems += _link_problems(before, seal, cutoff)
            found, wrong = _content_problems(db, seal, cutoff)
            problems += wrong
            seals, rows, before = seals + 1, rows + found, seal
            heads.discard(_head(seal))
        problems += _end_problems(db, before)
        unsealed = len(_unsealed(db, before, settled=timedelta()))
    problems += [f"the chain does not lead to {each}: it was rewritten, or cut" for each in heads]
    return Verdict(seals, rows, unsealed, _head(before) if before is not None else None, problems)


def _link_problems(before: AuditSeal | None, seal: AuditSeal, cutoff: datetime) -> Iterator[str]:
    if before is None:
        if seal.previous_event_at is not None and seal.previous_event_at > cutoff:
            yield f"what came before seal {seal.position} is gone, and it was not old enough to be pruned"
    elif seal.previous != before.digest:
        yield f"seal {seal.position} does not follow seal {before.position}"


def _content_problems(db: DatabaseSession, seal: AuditSeal, cutoff: datetime) -> tuple[int, list[str]]:
    rows = list(db.scalars(select(AuditEvent).where(AuditEvent.id.in_(seal.event_ids)).order_by(AuditEvent.id)))
    missing = sorted(set(seal.event_ids) - {row.id for row in rows})
    if missing and seal.last_event_at <= cutoff:
        return len(rows), []  # being pruned
    if missing:
        named = ", ".join(f"aud_{each}" for each in missing[:5])
        return len(rows), [f"{len(missing)} rows that seal {seal.position} covers are gone: {named}"]
    if _digest(seal.previous, seal.previous_event_at, rows) != seal.digest:
        return len(rows), [
            f"rows that seal {seal.position} covers were changed (aud_{rows[0].id} to aud_{rows[-1].id})"
        ]
    return len(rows), []


def _end_problems(db: DatabaseSession, last: AuditSeal | None) -> Iterator[str]:
    """Seals that were cut off at the end: the numbers that they had are not given out again."""
    given = db.scalar(text("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM audit_seals_position_seq")) or 0
    newest = last.position if last is not None else 0
    if given > newest:
        yield f"{given - newest} seals after position {newest} are gone"


def _unsealed(db: DatabaseSession, last: AuditSeal | None, *, settled: timedelta = _SETTLED) -> Sequence[AuditEvent]:
    """Rows that no seal covers, by their numbers; those of the last seconds may still get company."""
    query = select(AuditEvent).where(AuditEvent.at < utc_now() - settled)
    if last is not None:
        since = last.last_event_at - _LATEST_COMMIT
        sealed = select(func.unnest(AuditSeal.event_ids)).where(AuditSeal.last_event_at >= since).scalar_subquery()
        query = query.where(AuditEvent.at >= since, AuditEvent.id.not_in(sealed))
    return db.scalars(query.order_by(AuditEvent.id).limit(MOST_ROWS)).all()


def _digest(previous: bytes, previous_event_at: datetime | None, rows: Sequence[AuditEvent]) -> bytes:
    hashed = hashlib.sha256(previous)
    hashed.update(str(previous_event_at and previous_event_at.isoformat()).encode())
    for row in rows:
        members = [
            row.id,
            row.tenant_id,
            row.at.isoformat(),
            row.actor,
            row.action,
            row.subject,
            row.reason,
            row.details,
        ]
        hashed.update(json.dumps(members, sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return hashed.digest()


def _head(seal: AuditSeal) -> str:
    return f"{seal.position}:{seal.digest.hex()}"
