"""One worker's conversation with Telegram about one login: its connection, its auth key, its row.

The phases (``qr``, ``password``, ``phone_code``) talk through it. It survives lost connections, and everything in it can be
repeated: after any break it asks Telegram where it stands and goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, ParamSpec, TypeVar

import redis.asyncio
from telethon.tl.functions.auth import LogOutRequest
from telethon.tl.functions.users import GetUsersRequest
from telethon.tl.types import InputUserSelf, UpdateLoginToken

from app.clock import utc_now
from app.core import Core
from app.logins.endings import LoginFailed
from app.logins.keeper import Hold, LoginKeeper
from app.logins.row import LoginRow
from app.logins.secrets import Answer
from app.logs import get_logger
from app.models import Login
from app.sessions.claim import Account, account_of
from app.settings import DataCentre
from app.telegram.calls import PacedCaller
from app.telegram.connection import TELEGRAM_DC, TelegramConnection
from app.telegram.errors import AnswerTimeout, ConnectionLost, MigrateTo, NotAuthorized, PasswordNeeded
from app.telegram.flood import FloodWaitManager
from app.telegram.identity import ApiIdentity
from app.telegram.parts import TelegramParts

T = TypeVar("T")
P = ParamSpec("P")

END_EARLY_SECONDS = 10.0
"""The wait ends that much before the login's life, so that it always ends by itself."""

_BACKOFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
_MOVES_AT_ONCE = 3
_BELIEVE_AFTER_SECONDS = 2.0  # for 1-2 s after a migration AUTH_KEY_UNREGISTERED can be wrong

_log = get_logger(__name__)


class Standing(Enum):
    """Where an auth key stands with Telegram."""

    UNAUTHORIZED = "unauthorized"
    PASSWORD = "password"  # noqa: S105  # a state's name
    AUTHORIZED = "authorized"


class Conversation:
    """See the module. Lives on the loop; blocking work leaves it by ``in_thread`` and the row's ``transact``.

    Args:
        login: the row as this worker took it, with its epoch; detached.
        auth_key: the one that the row keeps, opened; None when there is none yet.
    """

    PING_SECONDS = 25.0

    def __init__(
        self,
        *,
        core: Core,
        telegram: TelegramParts,
        keeper: LoginKeeper,
        hold: Hold,
        login: Login,
        identity: ApiIdentity,
        auth_key: bytes | None,
    ) -> None:
        self.core = core
        self.row = LoginRow(core=core, telegram=telegram, login=login, auth_key=auth_key)
        self.login = login
        self.identity = identity
        self.connection: TelegramConnection | None = None
        self.account: Account | None = None
        self.unjudged: tuple[str, Answer] | None = None  # what the user typed and Telegram has not judged yet
        self.hinted = False
        self.import_token: bytes | None = None
        self.signed_at: float | None = None
        self._telegram = telegram
        self._keeper = keeper
        self._hold = hold
        self._auth_key = auth_key
        self.key_is_new = False
        self._data_centre = self.row.data_centre or core.settings.data_centre or TELEGRAM_DC
        self._migrated_at: float | None = None
        self._moves = 0
        self.resumed = self._auth_key is not None
        self._caller = PacedCaller(
            floods=telegram.floods,
            metrics=core.metrics,
            scope=f"api:{identity.api_id}",
            fresh=not self.resumed,
            guard=lambda: keeper.guard(hold),
        )
        self.log = _log.bind(login_id=login.id, tenant_id=login.tenant_id)

    # --- time

    @staticmethod
    def now() -> float:
        """The clock that only goes forward, in seconds."""
        return time.monotonic()

    def remaining_seconds(self) -> float:
        """How much of the login's life is left for waiting; negative when it is over."""
        return (self.login.expires_at - utc_now()).total_seconds() - END_EARLY_SECONDS

    async def wait(self, seconds: float) -> None:
        """Wait until something happens (an update, an answer of the user, a broken connection) or the time is up.

        Raises:
            ConnectionLost: the connection broke.
            LoginOver, OwnershipLost, HandOver: there is no point in waiting.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hold.wake.wait()
        self._hold.wake.clear()
        self._hold.check()
        if self.connection is None or not self.connection.connected:
            raise ConnectionLost("The connection to Telegram broke while waiting.")

    # --- what the phases need of the process

    @property
    def redis(self) -> redis.asyncio.Redis:
        """The loop's Redis client."""
        return self._telegram.redis

    @property
    def floods(self) -> FloodWaitManager:
        """The gates."""
        return self._telegram.floods

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking work off the loop."""
        return await self._telegram.runtime.in_thread(function, *args, **kwargs)

    def redis_forgot(self) -> bool:
        """Whether Redis has lost what it held for this login since this was last asked."""
        forgotten, self._hold.forgotten = self._hold.forgotten, False
        return forgotten

    # --- Telegram

    async def call(self, request: Any) -> Any:
        """Make one paced request on the present connection.

        Raises:
            as ``PacedCaller.call``.
        """
        assert self.connection is not None
        try:
            return await self._caller.call(self.connection, request)
        except AnswerTimeout:
            self.core.metrics.auth_qr_timeout.labels(tenant_id=self.login.tenant_id).inc()
            raise

    async def ping(self) -> None:
        """Keep an idle connection from being forgotten on the way, and notice when it was.

        Raises:
            ConnectionLost: it was.
        """
        assert self.connection is not None
        await self.connection.ping()

    async def log_out(self, *, timeout_seconds: float) -> None:
        """Log the auth key out, whether it is authorized or waits for a password. The login is over: no guard is asked.

        Raises:
            ConnectionLost, Transient, FloodWait: it is not known to be logged out.
        """
        if self.connection is None or not self.connection.connected:
            raise ConnectionLost("There is no connection to log out on.")
        with contextlib.suppress(NotAuthorized):
            await self._caller.call(self.connection, LogOutRequest(), timeout_seconds=timeout_seconds, guarded=False)

    async def connect(self) -> None:
        """Have a connection: the present one if it stands, else a new one under the known auth key.

        Raises:
            ConnectionLost: Telegram cannot be reached.
        """
        if self.connection is not None and self.connection.connected:
            return
        await self.disconnect()
        if self.login.finished_at is None:
            await self._keeper.guard(self._hold)
        self.key_is_new = self._auth_key is None
        self.connection = await self._open(self._auth_key, self._data_centre)
        self._auth_key = self.connection.auth_key

    async def disconnect(self) -> None:
        """Close the connection without logging out."""
        if self.connection is not None:
            await self.connection.close()

    async def move_to(self, dc_id: int, *, call: str) -> None:
        """Go on at another data centre, under a new auth key made there.

        Args:
            call: what was answered with the move, for the metric.
        """
        assert self.connection is not None
        target = self.connection.find_data_centre(dc_id)
        await self.disconnect()
        self._moves += 1
        if self._moves > _MOVES_AT_ONCE:  # data centres that send us to each other must not keep us busy
            await self.pause(self._moves - _MOVES_AT_ONCE)
        self._caller.new_auth_key()
        self.connection = await self._open(None, target)
        self._auth_key, self._data_centre = self.connection.auth_key, target
        self._migrated_at = time.monotonic()
        await self.row.keep_auth_key(self.connection)
        self.core.metrics.auth_qr_migrated.labels(tenant_id=self.login.tenant_id, call=call).inc()

    async def standing(self) -> Standing:
        """Ask Telegram where our auth key stands: the scan may have happened while no worker was there.

        Raises:
            LoginFailed: the account is banned or deactivated.
        """
        while True:
            try:
                users = await self.call(GetUsersRequest([InputUserSelf()]))
            except PasswordNeeded:
                return Standing.PASSWORD
            except MigrateTo as exc:
                await self.move_to(exc.dc_id, call="users.getUsers")
                continue
            except NotAuthorized as exc:
                self.fail_if_dead(exc)
                if self._may_be_too_early():
                    continue
                return Standing.UNAUTHORIZED
            self.account = account_of(users)
            return Standing.AUTHORIZED

    def fail_if_dead(self, error: NotAuthorized) -> None:
        """End the login when the account, and not only the auth key, is out of use.

        Raises:
            LoginFailed: it is.
        """
        if error.cause == "user_deactivated":
            raise LoginFailed("account_deactivated") from error
        if error.cause == "user_deactivated_ban":
            raise LoginFailed("account_banned") from error

    def forget_auth_key(self) -> None:
        """Start over with a new auth key: Telegram does not know the present one any more."""
        self._auth_key, self.account = None, None
        self._caller.new_auth_key()

    def signed(self) -> None:
        """Note the first sign that the code was scanned (or typed), for the metric."""
        if self.signed_at is None:
            self.signed_at = time.monotonic()

    async def pause(self, failures: int) -> None:
        """Wait after a failure: exponentially longer, with jitter, never past the login's life."""
        longest = _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)]
        await asyncio.sleep(max(0.0, min(longest * random.uniform(0.5, 1.0), self.remaining_seconds())))  # noqa: S311

    # --- inside

    def _may_be_too_early(self) -> bool:
        return self._migrated_at is not None and time.monotonic() - self._migrated_at < _BELIEVE_AFTER_SECONDS

    async def _open(self, auth_key: bytes | None, data_centre: DataCentre) -> TelegramConnection:
        connection = TelegramConnection(
            identity=self.identity,
            data_centre=data_centre,
            auth_key=auth_key,
            handshakes=self._telegram.handshakes,
            on_update=self._on_update,
            on_closed=self._hold.wake.set,
        )
        await connection.open()
        return connection

    def _on_update(self, update: Any) -> None:
        inner = getattr(update, "updates", None) or [getattr(update, "update", None)]
        if any(isinstance(each, UpdateLoginToken) for each in inner):
            self.hinted = True
            self._hold.wake.set()
