"""What is backed up and what is due, for people."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel
from sqlalchemy import func, select

from app.backups.due import count_due
from app.database import Transaction
from app.models import BackupObject, BackupRun


class BackupStatus(BaseModel):
    """The state of backups; ``complete_run_at``: when a run last left nothing to do."""

    due: int
    objects: int
    last_run_at: datetime | None
    complete_run_at: datetime | None


def read_status(transaction: Transaction) -> BackupStatus:
    """Read the state of backups from the database."""
    newest = select(func.max(BackupRun.finished_at))
    with transaction() as db:
        return BackupStatus(
            due=count_due(db),
            objects=db.scalar(select(func.count()).select_from(BackupObject)) or 0,
            last_run_at=db.scalar(newest),
            complete_run_at=db.scalar(newest.where(BackupRun.complete)),
        )
