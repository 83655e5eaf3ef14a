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
        "expires_at",
        "first_salt",
        "key",
        "key_id",
        "permanent",
        "salt_seconds",
        "sessions",
        "temporary",
    )

    def __init__(
        self,
        *,
        key: bytes,
        dc_id: int,
        first_salt: int,
        created_at: float,
        salt_seconds: int,
        expires_at: float | None = None,
    ) -> None:
        """Register a key.

        Args:
            key: the 256 bytes that both sides computed.
            dc_id: the data centre that it was made with; no other one knows it.
            first_salt: the salt that the exchange agreed on, valid at first beside the regular ones.
            created_at: Unix time.
            salt_seconds: how long a salt is the current one; it stays valid as long again.
            expires_at: Unix time, for a temporary key.
        """
        self.key = key
        self.key_id = int.from_bytes(sha1(key).digest()[-8:], "little")  # noqa: S324 - the protocol's own hash
        self.dc_id = dc_id
        self.first_salt = first_salt
        self.created_at = created_at
        self.salt_seconds = salt_seconds
        self.expires_at = expires_at
        self.permanent: AuthKey | None = None
        """What this temporary key is bound to."""
        self.temporary: AuthKey | None = None
        """The temporary key that is bound to this one."""
        self.sessions: dict[int, Session] = {}
        self.connections: set[Connection] = set()

    @property
    def lasting(self) -> "AuthKey | None":
        """The key that logins belong to: this one, or what it is bound to; None while that is nothing."""
        return self if self.expires_at is None else self.permanent

    def bind_to(self, permanent: "AuthKey") -> None:
        """Stand for a permanent key from now on, instead of the temporary one that did before."""
        if permanent.temporary is not None:
            permanent.temporary.permanent = None
        self.permanent, permanent.temporary = permanent, self

    def all_sessions(self) -> "list[Session]":
        """Return the sessions of this key and of the temporary one that stands for it."""
        return [*self.sessions.values(), *(self.temporary.sessions.values() if self.temporary else ())]

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
        if key is not None and key.expires_at is not None and key.expires_at <= self._clock():
            self.remove(key)
            return None
        return key if key is not None and key.dc_id == dc_id else None

    def add(self, *, key: bytes, dc_id: int, first_salt: int, life_seconds: int | None = None) -> AuthKey:
        """Register a key that was just made, and announce it; a temporary one has a life."""
        now = self._clock()
        expires_at = None if life_seconds is None else now + life_seconds
        auth_key = self.restore(key=key, dc_id=dc_id, first_salt=first_salt, created_at=now, expires_at=expires_at)
        self.on_add(auth_key)
        return auth_key

    def restore(
        self, *, key: bytes, dc_id: int, first_salt: int, created_at: float, expires_at: float | None = None
    ) -> AuthKey:
        """Register a key that already was there before a restart."""
        auth_key = AuthKey(
            key=key,
            dc_id=dc_id,
            first_salt=first_salt,
            created_at=created_at,
            salt_seconds=self._salt_seconds,
            expires_at=expires_at,
        )
        self._keys[auth_key.key_id] = auth_key
        return auth_key

    def remove(self, auth_key: AuthKey) -> None:
        """Forget a key for good: its next use is answered with transport error 404."""
        if self._keys.pop(auth_key.key_id, None) is not None:
            if auth_key.permanent is not None:
                auth_key.permanent.temporary = None
            if auth_key.temporary is not None:
                auth_key.temporary.permanent = None
            self.on_remove(auth_key)
