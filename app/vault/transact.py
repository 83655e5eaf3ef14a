"""A transaction that seals or opens values: it waits for no key provider while it holds row locks and a connection.

Which key a row needs is often known only from the row. So the work begins with the keys that are at hand; when one is not,
the transaction is rolled back, the key is fetched, and the work begins again. Keys stay at hand for minutes, so this is rare.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.orm import Session as DatabaseSession

from app.database import Transaction
from app.vault.keyring import KeyNotAtHand, KeyRing

T = TypeVar("T")

_TRIES = 6  # each one more needs another key than those before: two, in what there is


def transact(transaction: Transaction, keyring: KeyRing, work: Callable[[DatabaseSession], T]) -> T:
    """Run work in a transaction, and fetch the keys that it needs outside of it.

    Args:
        work: may be run several times, and is rolled back each time but the last: it must do nothing but read and write the
            database, or what may be done twice.

    Raises:
        SealBroken, KeyUnavailable, Transient: a key is not to be had; nothing was written.
        Unavailable: PostgreSQL is away; nothing was written.
        whatever the work raises; nothing was written then either.
    """
    for _ in range(_TRIES - 1):
        try:
            with transaction() as db:
                return work(db)
        except KeyNotAtHand as exc:
            key_id, why = exc.key_id, exc.why
        keyring.fetch(key_id, why=why)
    with transaction() as db:
        return work(db)
