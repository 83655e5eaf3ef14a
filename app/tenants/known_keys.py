"""API keys that were looked up a moment ago, in the memory of one web process: whoever reads often is not looked up each time.

For calls that only read. What changes, opens or starts something looks its key up itself. What this means for a revoked key is
in docs/decisions/0014-a-key-is-known-for-a-second.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from app.database import ReadRow, Transaction
from app.ids import hash_secret
from app.tenants.keys import Caller, StandingKey, admit, authenticate

KNOWN_SECONDS = 1.0
_MOST = 10_000


class _Known(NamedTuple):
    key: StandingKey
    until: float


class KnownKeys:
    """The keys that one process has looked up. Safe for threads and greenlets.

    Args:
        monotonic: the clock that a key's second goes by.
    """

    def __init__(
        self, read_row: ReadRow, transaction: Transaction, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._read_row = read_row
        self._transaction = transaction
        self._monotonic = monotonic
        self._known: dict[bytes, _Known] = {}

    def look_up(self, *, key: str, address: str | None) -> Caller:
        """Say whose a key is, by what is true now.

        Raises:
            Unauthenticated, Forbidden, Unavailable: see ``app.tenants.keys.authenticate``.
        """
        return authenticate(self._read_row, self._transaction, key=key, address=address).caller

    def recognise(self, *, key: str, address: str | None) -> Caller:
        """Say whose a key is, by what was true at most ``KNOWN_SECONDS`` ago.

        Raises:
            Unauthenticated, Forbidden, Unavailable: as ``look_up``. Who was refused is looked up again the next time.
        """
        key_hash, now, known = hash_secret(key), self._monotonic(), self._known
        found = known.get(key_hash)
        if found is None or found.until <= now:
            found = _Known(
                authenticate(self._read_row, self._transaction, key=key, address=address), now + KNOWN_SECONDS
            )
            if len(known) >= _MOST:
                known.clear()
            known[key_hash] = (
                found  # in the dict from before the look-up: should all be forgotten meanwhile, this is as well
            )
        return admit(found.key, address=address)

    def remembered(self, *, key: str, address: str | None) -> Caller | None:
        """As ``recognise``, but looks nothing up: None, if the key is not known right now.

        Raises:
            Unauthenticated, Forbidden: as ``look_up``.
        """
        found = self._known.get(hash_secret(key))
        return None if found is None or found.until <= self._monotonic() else admit(found.key, address=address)

    def forget(self) -> None:
        """Look every key up again: one of them may have been revoked."""
        self._known = {}
