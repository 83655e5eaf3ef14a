"""The login that this worker drives: its row, its lock and its epoch together.

The one place that says whose the login is (still mine, over, driven by another), and the only writer of its row while it is
mine. Each write is fenced by the epoch, and told to whoever looks. Blocking work leaves the loop here.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

from redis.exceptions import RedisError
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.core import Core
from app.ids import new_id
from app.logins.keeper import Hold, LoginKeeper
from app.logins.leaving_keys import add_leaving_key, final_ask_at
from app.logins.rows import LoginRows
from app.logins.secrets import auth_key_place
from app.logins.store import advance, end_as_owner
from app.logins.store_many import Write
from app.logs import get_logger
from app.models import Login
from app.redis_state import LOGIN_CHANNEL, encode_login_hint
from app.settings import DataCentre
from app.telegram.identity import ApiIdentity
from app.telegram.process import TelegramParts
from app.telegram.runtime import LoopThread
from app.telegram.warm import WarmConnections
from app.vault.keyring import KeyNotAtHand, only_at_hand
from app.vault.sealing import Place
from app.vault.transact import transact

T = TypeVar("T")
P = ParamSpec("P")

END_EARLY_SECONDS = 10.0
"""Waiting ends that much before the login's life, so that it always ends by itself."""

_log = get_logger(__name__)


class LoginParts(NamedTuple):
    """What all logins of a worker share."""

    core: Core
    telegram: TelegramParts
    keeper: LoginKeeper
    rows: LoginRows
    warm: WarmConnections


class OwnedLogin:
    """See the module. Lives on the loop.

    Args:
        parts: what all logins of this worker share.
        login: the row as this worker took it, with its epoch; detached, and kept as the row is after each write.
        identity: who the login is to Telegram.
        auth_key: the one that the row keeps, opened; None when there is none yet.
    """

    def __init__(
        self,
        parts: LoginParts,
        hold: Hold,
        *,
        login: Login,
        identity: ApiIdentity,
        auth_key: bytes | None,
    ) -> None:
        self.core = parts.core
        self.telegram = parts.telegram
        self.warm = parts.warm
        self.login = login
        self.identity = identity
        self.kept_auth_key = auth_key
        self.resumed = auth_key is not None
        self.scanned_at: float | None = None
        self._scan_counted = login.status == "password_required"  # by whoever asked for the password
        self.log = _log.bind(login_id=login.id, tenant_id=login.tenant_id)
        self._keeper = parts.keeper
        self._rows = parts.rows
        self._hold = hold

    # --- whose it is

    def check(self) -> None:
        """Go on, or not, as far as this worker has heard.

        Raises:
            LoginOver, OwnershipLost, HandOver: not.
        """
        self._hold.check()

    async def make_sure(self) -> None:
        """Go on, or not: asked right before something is sent. Free when the lock was renewed a moment ago.

        Raises:
            LoginOver, OwnershipLost, HandOver: not.
            Unavailable: it cannot be known now.
        """
        await self._keeper.guard(self._hold)

    # --- time

    def remaining_seconds(self) -> float:
        """How much of the login's life is left for waiting; negative when it is over."""
        return (self.login.expires_at - utc_now()).total_seconds() - END_EARLY_SECONDS

    async def wait(self, seconds: float) -> None:
        """Wait until something happens (an update, an answer of the user, a broken connection) or the time is up.

        Raises:
            LoginOver, OwnershipLost, HandOver: there is no point in waiting.
        """
        await self._hold.wake.wait(seconds)
        self._hold.check()

    def wake(self) -> None:
        """Let whoever waits look around."""
        self._hold.wake.set()

    def note_scanned(self) -> None:
        """Note the first sign that somebody scanned the code, or typed one."""
        if self.scanned_at is None:
            self.scanned_at = time.monotonic()
        self.count_scan()

    def count_scan(self) -> None:
        """Count the login as scanned, once: whoever finds it done learns of the scan by its effect."""
        if not self._scan_counted:
            self._scan_counted = True
            self.core.metrics.auth_qr_scanned.labels(tenant_id=self.login.tenant_id).inc()

    def seconds_since_scan(self) -> float | None:
        """How long ago that was; None: there was no sign."""
        return None if self.scanned_at is None else time.monotonic() - self.scanned_at

    async def within_life(self, work: asyncio.Task[T], *, last_chance: bool = False) -> bool:
        """Let work go on for as long as the login lives and is this worker's.

        Args:
            last_chance: also when waiting is over, for the seconds that are left of the life.

        Returns:
            Whether the work came to its end; otherwise the time is up, and the work is cancelled.

        Raises:
            LoginOver, OwnershipLost, HandOver: it is not this worker's any more; the work is cancelled.
        """
        # Somebody may have scanned while no worker was there: a worker that comes late still asks once.
        seconds = max(self.remaining_seconds(), END_EARLY_SECONDS if self.resumed or last_chance else 0.0)
        self._hold.task = work
        try:
            self._hold.check()
            await asyncio.wait({work}, timeout=seconds)
        finally:
            self._hold.task = None
            work.cancel()
            await asyncio.wait({work})
        if work.cancelled():
            self._hold.check()
            return False
        return True

    # --- writing

    async def advance(self, **changes: Any) -> None:
        """Write to the row, and tell whoever looks at the login.

        Args:
            changes: columns of ``Login``.

        Raises:
            OwnershipLost, LoginOver: the row is not this worker's (any more).
            Unavailable: PostgreSQL is away; nothing was written.
        """
        await self._write(changes, public=True)
        await self.tell()

    async def keep_auth_key(
        self, auth_key: bytes, data_centre: DataCentre, *, patience_seconds: float = 0.0, **changes: Any
    ) -> None:
        """Seal an auth key into the row: from here a killed worker loses nothing. Repeated, it costs nothing.

        Args:
            patience_seconds: for how long changes may wait to be written, and told, together with other logins'.
            changes: columns to write in the same transaction, as ``advance`` does; told to whoever looks then.

        Raises:
            as ``advance``.
        """
        if auth_key != self.kept_auth_key:
            sealed = await self._seal(auth_key_place(self.login), auth_key)
            kept = {"auth_key_sealed": sealed, "dc_id": data_centre.dc_id}
            kept |= {"dc_host": data_centre.host, "dc_port": data_centre.port}
            await self._write(changes | kept, public=bool(changes))
            self.kept_auth_key = auth_key
        elif changes:
            await self._write(changes, public=True, patience_seconds=patience_seconds)
        if changes:
            await self.tell(patience_seconds=patience_seconds)

    async def drop_auth_key(self, auth_key: bytes, data_centre: DataCentre, *, known_dead: bool) -> None:
        """Give an auth key up for good: the row forgets it and it leaves to be logged out, in one transaction.

        Only then may it be logged out: until then another worker could take the login and go on with this key.

        Args:
            known_dead: Telegram knows nothing of the key that could be logged out.

        Raises:
            as ``advance``.
        """
        login = self.login
        record_id = new_id("lak")
        sealed = await self._seal(Place("login-auth-key", login.tenant_id, record_id), auth_key)
        forgotten = {"auth_key_sealed": None, "dc_id": None, "dc_host": None, "dc_port": None, "qr_expires_at": None}

        def write(db: DatabaseSession) -> None:
            advance(db, login_id=login.id, epoch=login.owner_epoch, public=False, **forgotten)
            if not known_dead:
                add_leaving_key(
                    db,
                    record_id=record_id,
                    login=login,
                    sealed=sealed,
                    data_centre=data_centre,
                    final_ask_at=final_ask_at(login.qr_expires_at, doubted=True),
                )

        await self.transact(write)
        self.kept_auth_key = self.scanned_at = None
        self._apply(forgotten)

    async def end(
        self, status: str, *, also: Callable[[DatabaseSession, Login], None] | None = None, **changes: Any
    ) -> None:
        """End the login without a session, and tell whoever looks.

        Args:
            status: a final status.
            also: what else belongs into the transaction, with the final row.
            changes: columns of ``Login``.

        Raises:
            OwnershipLost, LoginOver: it is not this worker's to end; nothing was written.
            Unavailable: PostgreSQL is away; nothing was written.
        """

        def write(db: DatabaseSession) -> Login:
            ended = end_as_owner(db, login_id=self.login.id, epoch=self.login.owner_epoch, status=status, **changes)
            if also is not None:
                also(db, ended)
            return ended

        before = self.login.status
        self.login = await self.transact(write)
        self.core.metrics.auth_qr_lost.labels(tenant_id=self.login.tenant_id, status=before, end=status).inc()
        await self.tell()

    async def transact(self, work: Callable[[DatabaseSession], T]) -> T:
        """Run blocking work in a transaction, off the loop; several times when it needs a key (``app.vault.transact``).

        Raises:
            Unavailable: PostgreSQL is away; nothing was written.
            SealBroken, KeyUnavailable, Transient: a key is not to be had; nothing was written.
            whatever the work raises; nothing was written then either.
        """
        return await self.in_thread(self._transact, work)

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking work off the loop."""
        return await self.telegram.runtime.in_thread(function, *args, **kwargs)

    async def with_keys(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Seal or open something: here, which takes microseconds, or off the loop when a key has to be asked for."""
        return await with_keys(self.telegram.runtime, function, *args, **kwargs)

    async def tell(self, *, patience_seconds: float = 0.0) -> None:
        """Publish the hint that the login changed. Readers poll as well, so that a lost hint costs seconds."""
        hint = encode_login_hint(self.login.id, self.login.version)
        with contextlib.suppress(RedisError, OSError):
            await self.telegram.rounds.do("PUBLISH", LOGIN_CHANNEL, hint, patience_seconds=patience_seconds)

    def neighbours(self) -> int:
        """How many logins this worker drives, this one included."""
        return len(self._keeper)

    def redis_forgot(self) -> bool:
        """Whether Redis has lost what it held for this login since this was last asked."""
        forgotten, self._hold.forgotten = self._hold.forgotten, False
        return forgotten

    async def _seal(self, place: Place, auth_key: bytes) -> bytes:
        # One key id serves all that the row has sealed; rotation leaves live logins alone.
        assert self.login.key_id is not None
        return await self.with_keys(self.core.keyring.seal_under_key, self.login.key_id, place, auth_key)

    async def _write(self, changes: dict[str, Any], *, public: bool, patience_seconds: float = 0.0) -> None:
        login = self.login
        write = Write(login.id, login.owner_epoch, public=public, changes=changes)
        login.version = await self._rows.advance(write, patience_seconds=patience_seconds)
        self._apply(changes)

    def _apply(self, changes: dict[str, Any]) -> None:
        for name, value in changes.items():
            setattr(self.login, name, value)

    def _transact(self, work: Callable[[DatabaseSession], T]) -> T:
        return transact(self.core.transaction, self.core.keyring, work)


async def with_keys(runtime: LoopThread, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run on the loop what seals or opens a value, and in a thread when its key has to be asked for."""
    try:
        with only_at_hand():
            return function(*args, **kwargs)
    except KeyNotAtHand:
        return await runtime.in_thread(function, *args, **kwargs)
