"""Rewrapping: the same data encryption keys under another key encryption key. Touches key rows and nothing sealed.

Backups hold wrapped keys as well: the next backup run adds the new wrappings to the bucket, and from then on the old key
encryption key is not needed any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import select, update

from app.database import Transaction
from app.models import EncryptionKey
from app.vault.audit import record_event
from app.vault.keyring import KeyRing
from app.vault.wrapping import WrappedKey


def rewrap_keys(
    *,
    transaction: Transaction,
    keyring: KeyRing,
    actor: str,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Wrap every key anew that is not wrapped by the provider and key that the settings name now.

    Each key is a transaction of its own, so a run that was killed may simply be repeated.

    Args:
        on_progress: called with the keys done and their total, after each.

    Returns:
        The ids of the keys that were rewrapped.

    Raises:
        SealBroken, KeyUnavailable, Transient: a key does not unwrap, or cannot be wrapped; the ones before stay done.
    """
    target = keyring.provider.wrap(key_id="which-key-wraps-now", data_key=bytes(32))
    stale = [
        wrapped
        for wrapped in _wrapped_keys(transaction)
        if (wrapped.provider, wrapped.wrapping_key_id) != (target.provider, target.wrapping_key_id)
    ]
    on_progress(0, len(stale))
    rewrapped = []
    for done, old in enumerate(stale, start=1):
        if _rewrap(transaction, keyring, old, actor):
            rewrapped.append(old.key_id)
        on_progress(done, len(stale))
    return rewrapped


def _wrapped_keys(transaction: Transaction) -> Sequence[WrappedKey]:
    with transaction() as db:
        rows = db.scalars(
            select(EncryptionKey).where(EncryptionKey.wrapped_key.is_not(None)).order_by(EncryptionKey.created_at)
        ).all()
    return [WrappedKey(row.id, row.provider, row.wrapping_key_id, row.wrapped_key or b"") for row in rows]


def _rewrap(transaction: Transaction, keyring: KeyRing, old: WrappedKey, actor: str) -> bool:
    data_key = keyring.unwrap(old, "to rewrap it")
    new = keyring.provider.wrap(key_id=old.key_id, data_key=data_key)
    # The old wrapping is overwritten next: never with one that was not seen to open.
    if (
        keyring.unwrap(new, "to check its new wrapping") != data_key
    ):  # pragma: no cover  # would be the provider's fault
        raise AssertionError(f"The new wrapping of {old.key_id} opens to another key.")
    with transaction() as db:
        changed = db.scalar(
            update(EncryptionKey)
            .where(EncryptionKey.id == old.key_id, EncryptionKey.wrapped_key == old.ciphertext)
            .values(provider=new.provider, wrapping_key_id=new.wrapping_key_id, wrapped_key=new.ciphertext)
            .returning(EncryptionKey.id)
        )
        if changed is not None:
            details = {"from": old.wrapping_key_id, "to": new.wrapping_key_id}
            record_event(db, tenant_id=None, actor=actor, action="key.rewrapped", subject=old.key_id, details=details)
    return changed is not None
