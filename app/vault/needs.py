"""What still needs a data encryption key: rows sealed under it, and backups until they expire."""

from __future__ import annotations

from sqlalchemy import ColumnElement, exists, func, or_, select
from sqlalchemy.orm import Session as DatabaseSession

from app.models import BackupObject, EncryptionKey
from app.vault.places import SEALED_TABLES


def count_needs(db: DatabaseSession, key_id: str) -> dict[str, int]:
    """Count what needs a key, by noun (``session``, ``login``, ``webhook endpoint``, ``backup``); zeros left out."""
    columns = {table.noun: table.model.key_id for table in SEALED_TABLES} | {"backup": BackupObject.key_id}
    counts = {noun: db.scalar(select(func.count()).where(column == key_id)) or 0 for noun, column in columns.items()}
    return {noun: count for noun, count in counts.items() if count}


def key_is_needed() -> ColumnElement[bool]:
    """True of an ``EncryptionKey`` row that something needs. Each look is one probe of an index."""
    columns = [table.model.key_id for table in SEALED_TABLES] + [BackupObject.key_id]
    return or_(*(exists().where(column == EncryptionKey.id) for column in columns))


def describe_needs(needs: dict[str, int]) -> str:
    """Put counts into words: ``3 sessions, 1 login and 12 backups``."""
    parts = [f"{count:,} {noun}{'' if count == 1 else 's'}" for noun, count in needs.items()]
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
