"""What keys there are and what needs them, for people."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel
from sqlalchemy import select

from app.database import Transaction
from app.models import EncryptionKey
from app.vault.needs import count_needs, describe_needs


class KeyView(BaseModel):
    """A data encryption key as the command line shows it."""

    id: str
    state: str
    created_at: datetime
    state_changed_at: datetime
    provider: str
    wrapping_key_id: str
    needed_by: str | None


def list_keys(transaction: Transaction) -> list[KeyView]:
    """List all keys, the newest first, each with what needs it."""
    with transaction() as db:
        keys = db.scalars(select(EncryptionKey).order_by(EncryptionKey.created_at.desc())).all()
        return [
            KeyView(
                id=key.id,
                state=key.state,
                created_at=key.created_at,
                state_changed_at=key.state_changed_at,
                provider=key.provider,
                wrapping_key_id=key.wrapping_key_id,
                needed_by=describe_needs(count_needs(db, key.id)) or None,
            )
            for key in keys
        ]
