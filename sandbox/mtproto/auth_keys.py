"""Auth keys as the protocol sees them: 256 bytes, salts, sessions, open connections.

Knows nothing of who is logged in.
"""

import time
from collections.abc import Callable, Iterator
from hashlib import sha1, sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.mtproto.connection import Connection
    from sandbox.mtproto.session import Session


class AuthKey:
    """One auth key of one data centre, with what is open on it right now."""

    __slots__ = (
        "connections",
        "created_at",
        "dc_id",
        "first_salt",
        "key",
        "key_id",
        "salt_seconds",
        "sessions",
    )

    def __init__(self, *, key: bytes, dc_id: int, first_salt: int, created_at: float, salt_seconds: int) -> None:
        """Register a key.

        Args:
            key: the 256 bytes that both sides computed.
            dc_id: the data centre that it was made with; no other one knows it.
            first_salt: the salt that the exchange agreed on, valid at first beside the regular ones.
            created_at: Unix time.
            salt_seconds: how long a salt is the current one; it stays valid as long again.
        """
        self.key = key
        self.key_id = int.from_bytes(sha1(key).digest()[-8:], "little")  # noqa: S324 - the protocol's own hash
        self.dc_id = dc_id
        self.first_salt = first_salt
        self.created_at = created_at
        self.salt_seconds = salt_seconds
        self.sessions: dict[int, Session] = {}
        self.connections: set[Connection] = set()

    def salt_of_period(self, period: int) -> int:
        """Return the salt of one period since the epoch; derived from the key, so that a restart keeps it."""
        digest = sha256(self.key + period.to_bytes(8, "little")).digest()
        return int.from_bytes(digest[:8], "little", signed=True)

    def current_salt(self, now: float) -> int:
        """Return the salt that the server uses now."""
        return self.salt_of_period(int(now // self.salt_seconds))

    def accepts_salt(self, salt: int, now: float) -> bool:
        """Tell whether this salt is the current period's, the last one's, or still the first."""
        period = int(now // self.salt_seconds)
        if salt in (self.salt_of_period(period), self.salt_of_period(period - 1)):
            return True
        return salt == self.first_salt and now < self.created_at + 2 * self.salt_seconds

    def forget_stale_sessions(self, older_than: float) -> None:
        """Drop sessions that no connection has served since `older_than` (Unix time)."""
        stale = [s.session_id for s in self.sessions.values() if s.connection is None and s.last_seen < older_than]
        for session_id in stale:
            del self.sessions[session_id]


class KeyRing:
    """All auth keys of all data centres. A key belongs to the data centre that it was made with."""

    def __init__(self, *, salt_seconds: int = 1800, clock: Callable[[], float] = time.time) -> None:
        self._keys: dict[int, AuthKey] = {}
        self._salt_seconds = salt_seconds
        self._clock = clock
        self.on_add: Callable[[AuthKey], None] = lambda _key: None
        self.on_remove: Callable[[AuthKey], None] = lambda _key: None

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[AuthKey]:
        return iter(self._keys.values())

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._keys

    def find(self, key_id: int, *, dc_id: int) -> AuthKey | None:
        """Return the key with this unsigned id if that data centre knows it."""
        key = self._keys.get(key_id)
        return key if key is not None and key.dc_id == dc_id else None

    def add(self, *, key: bytes, dc_id: int, first_salt: int) -> AuthKey:
        """Register a key that was just made, and announce it."""
        auth_key = self.restore(key=key, dc_id=dc_id, first_salt=first_salt, created_at=self._clock())
        self.on_add(auth_key)
        return auth_key

    def restore(self, *, key: bytes, dc_id: int, first_salt: int, created_at: float) -> AuthKey:
        """Register a key that already was there before a restart."""
        auth_key = AuthKey(
            key=key,
            dc_id=dc_id,
            first_salt=first_salt,
            created_at=created_at,
            salt_seconds=self._salt_seconds,
        )
        self._keys[auth_key.key_id] = auth_key
        return auth_key

    def remove(self, auth_key: AuthKey) -> None:
        """Forget a key for good: its next use is answered with transport error 404."""
        if self._keys.pop(auth_key.key_id, None) is not None:
            self.on_remove(auth_key)
