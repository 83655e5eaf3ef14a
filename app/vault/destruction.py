"""Destroying a data encryption key: what it sealed is gone for good, so it is refused while anything needs it."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.clock import utc_now
from app.database import Transaction
from app.errors import Conflict, NotFound
from app.models import EncryptionKey
from app.vault.audit import record_event
from app.vault.needs import count_needs, describe_needs


def destroy_key(*, transaction: Transaction, key_id: str, actor: str, reason: str) -> None:
    """Destroy a retired key. A process that has it unwrapped forgets it within ``CACHE_SECONDS``.

    The row stays, without its wrapped key. Should a transaction that is under way still refer to the key, PostgreSQL
    refuses one of the two (see ``EncryptionKey``).

    Raises:
        NotFound: there is no such key.
        Conflict: ``key_needed``: rows or unexpired backups are sealed under it, or it is not retired yet (or not any more).
    """
    try:
        with transaction() as db:
            key = db.scalar(select(EncryptionKey).where(EncryptionKey.id == key_id).with_for_update())
            if key is None:
                raise NotFound(f"There is no key {key_id}.")
            if key.state == "destroyed":
                raise Conflict(f"Key {key_id} was destroyed before.")
            needs = count_needs(db, key_id)
            if needs:
                raise _needed(f"Key {key_id} is needed by {describe_needs(needs)}; {_advice(needs)}")
            if key.state in ("active", "retiring"):
                raise _needed(f"Key {key_id} is {key.state}; a rotation retires it first (keys rotate).")
            key.state, key.wrapped_key, key.state_changed_at = "destroyed", None, utc_now()
            record_event(db, tenant_id=None, actor=actor, action="key.destroyed", subject=key_id, reason=reason)
    except IntegrityError as exc:
        raise _needed(f"Something was sealed under key {key_id} this very moment; rotate and try again.") from exc


def _advice(needs: dict[str, int]) -> str:
    if set(needs) == {"backup"}:
        return "they expire after BACKUP_RETENTION_DAYS."
    return "keys rotate seals them under the active one, and old backups expire after BACKUP_RETENTION_DAYS."


def _needed(detail: str) -> Conflict:
    return Conflict(detail, code="key_needed")
