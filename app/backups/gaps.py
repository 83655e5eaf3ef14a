"""Gaps: living sessions whose newest backup, as the database remembers it, is not in the bucket.

A bucket that was rolled back, emptied, or written to by somebody else shows here, whatever its listing pretends: each name that
the database remembers ends in the checksum of its content.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Engine, text, update

from app.backups.bucket import Bucket
from app.backups.names import SESSIONS, ObjectName, parse_name
from app.backups.opening import check_tombstone
from app.backups.plan import open_plan
from app.backups.wrappings import BackupKeys
from app.database import Transaction
from app.errors import Permanent
from app.models import TelegramSession

_BATCH = 1000
_GAPS = text(
    """
    SELECT s.id FROM sessions s
    WHERE s.session_sealed IS NOT NULL AND s.backed_up_at IS NOT NULL AND s.id > :after
      AND NOT EXISTS (
        SELECT 1 FROM backup_objects b JOIN restore_plan p ON p.object_key = b.object_key
        WHERE b.session_id = s.id AND b.key_id IS NOT NULL AND b.backed_up_at >= s.backed_up_at)
    ORDER BY s.id LIMIT :limit
    """
)
_TOMBSTONES = text(
    """
    SELECT p.object_key FROM restore_plan p JOIN sessions s ON s.id = p.session_id
    WHERE s.session_sealed IS NOT NULL AND p.object_key LIKE '%.erased.%' ORDER BY p.object_key LIMIT :limit
    """
)


@dataclass
class Gaps:
    """What is wrong with the bucket as a whole.

    ``sessions``: living ones without their newest backup. ``foreign``: keys of tombstones of living sessions that are not ours.
    """

    sessions: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


def find_gaps(*, transaction: Transaction, engine: Engine, bucket: Bucket, keys: BackupKeys) -> Gaps:
    """Hold the bucket's listing against the database; what is missing is backed up again by the next run.

    Raises:
        Transient, Permanent: the bucket cannot be listed.
        Unavailable: PostgreSQL is away.
    """
    gaps = Gaps()
    with open_plan(engine) as plan:
        plan.add((name for key in bucket.list_keys(SESSIONS) if (name := parse_name(key)) is not None), listed=True)
        tombstones = plan.ask(_TOMBSTONES, limit=_BATCH)
        after = ""
        while found := plan.ask(_GAPS, after=after, limit=_BATCH):
            gaps.sessions += found
            after = found[-1]
            _back_up_again(transaction, found)
    names = (parse_name(key) for key in tombstones)
    gaps.foreign = [name.object_key for name in names if name is not None and not _is_ours(bucket, name, keys)]
    return gaps


def _is_ours(bucket: Bucket, name: ObjectName, keys: BackupKeys) -> bool:
    try:
        check_tombstone(bucket, name, keys)
    except Permanent:
        return False
    return True


def _back_up_again(transaction: Transaction, session_ids: list[str]) -> None:
    with transaction() as db:
        db.execute(update(TelegramSession).where(TelegramSession.id.in_(session_ids)).values(backed_up_version=None))
