"""One login's way to Telegram: a connection under an auth key at a data centre, paced and guarded.

Knows Telegram and nothing of the login's row, but for the auth key that the row has to keep. A link survives lost
connections: after any break it connects again under the same key, and the caller asks where the key stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

from telethon.tl.functions.auth import LogOutRequest
from telethon.tl.functions.users import GetUsersRequest
from telethon.tl.types import InputUserSelf, UpdateLoginToken

from app.logins.endings import LoginFailed
from app.logins.owned import OwnedLogin
from app.sessions.claim import Account
from app.sessions.whose import account_of
from app.settings import DataCentre
from app.telegram.calls import PacedCaller
from app.telegram.connection import TELEGRAM_DC, TelegramConnection
from app.telegram.errors import AnswerTimeout, ConnectionLost, MigrateTo, NotAuthorized, PasswordNeeded
from app.telegram.gates import Caller

PING_SECONDS = 25.0
"""How often a connection on which nothing happens is asked whether it still stands."""

DOUBT_SECONDS = 2.0
"""For how long AUTH_KEY_UNREGISTERED is not believed: Telegram says it falsely for 1-2 s after a move, and now and then."""

_LOG_OUT_SECONDS = 2.0
_BACKOFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
_MOVES_AT_ONCE = 3


class KeyState(Enum):
    """Where an auth key stands with Telegram."""

    UNAUTHORIZED = "unauthorized"
    PASSWORD_PENDING = "password_pending"  # noqa: S105  # a state's name
    AUTHORIZED = "authorized"


class Link:
    """See the module. Lives on the loop.

    ``account`` is who is logged in, once Telegram said so. ``token_updates`` counts ``updateLoginToken``: somebody accepted a
    login token. ``asked_at`` and ``answered_at`` tell, by ``time.monotonic``, when a call was last begun, and last answered.
    ``key_is_new`` says that the auth key was made for the present connection, and so nobody can be logged in.
    """

    def __init__(self, owned: OwnedLogin) -> None:
        login, core, telegram = owned.login, owned.core, owned.telegram
        self.account: Account | None = None
        self.token_updates = 0
        self.asked_at = self.answered_at = 0.0
        self.key_is_new = False
        self._owned = owned
        self._connection: TelegramConnection | None = None
        self._auth_key = owned.kept_auth_key
        self._accepted = login.status == "password_required"
        self._data_centre = _kept_data_centre(owned) or core.settings.data_centre or TELEGRAM_DC
        self._moved_at: float | None = None
        self._moves = 0
        self._tenant_id = login.tenant_id
        self._caller = PacedCaller(
            floods=telegram.floods,
            metrics=core.metrics,
            caller=Caller(core.settings, api_id=owned.identity.api_id, login_id=login.id),
            fresh=self._auth_key is None,
            guard=owned.make_sure,
        )

    # --- the connection

    @property
    def connected(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return self._connection is not None and self._connection.connected

    @property
    def connection(self) -> TelegramConnection:
        """The present connection; there is one between ``connect`` and ``disconnect``."""
        assert self._connection is not None
        return self._connection

    @property
    def dc_id(self) -> int:
        """The data centre of the present auth key."""
        return self._data_centre.dc_id

    async def connect(self) -> None:
        """Have a connection: the present one if it stands, else a new one under the known auth key.

        Raises:
            ConnectionLost: Telegram cannot be reached.
            NotAuthorized: Telegram does not know the auth key.
            as ``OwnedLogin.make_sure``.
        """
        if self.connected:
            return
        await self.disconnect()
        await self._owned.make_sure()
        self.key_is_new = self._auth_key is None
        await self._open(self._auth_key, self._data_centre)

    async def disconnect(self) -> None:
        """Close the connection without logging out. May be repeated."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def leave(self, *, first: Callable[[], Awaitable[None]] | None = None) -> None:
        """Disconnect for good, and measure how long that takes. The second time does nothing.

        Args:
            first: what is still to be done on the connection.
        """
        if self._connection is None:
            return
        started = time.monotonic()
        if first is not None:
            await first()
        await self.disconnect()
        self._owned.core.metrics.session_cleanup_duration_seconds.observe(time.monotonic() - started)

    async def move_to(self, dc_id: int, *, call: str) -> None:
        """Go on at another data centre, under a new auth key made there.

        Args:
            call: what was answered with the move, for the metric.
        """
        target = self.connection.find_data_centre(dc_id)
        await self.disconnect()
        self._moves += 1
        if self._moves > _MOVES_AT_ONCE:  # data centres that send us to each other must not keep us busy
            await self.pause(self._moves - _MOVES_AT_ONCE)
        await self._owned.make_sure()
        await self._open(None, target)
        self._start_anew()
        self._moved_at = time.monotonic()
        await self.keep_auth_key()
        self._owned.core.metrics.auth_qr_migrated.labels(tenant_id=self._tenant_id, call=call).inc()

    async def ping(self) -> None:
        """Keep an idle connection from being forgotten on the way, and notice when it was.

        Raises:
            ConnectionLost: it was.
            as ``OwnedLogin.make_sure``.
        """
        await self._owned.make_sure()
        await self.connection.ping()

    async def wait(self, seconds: float) -> None:
        """Wait as ``OwnedLogin.wait`` does, and notice a broken connection.

        Raises:
            ConnectionLost: it broke.
            as ``OwnedLogin.wait``.
        """
        await self._owned.wait(seconds)
        if not self.connected:
            raise ConnectionLost("The connection to Telegram broke while waiting.")

    async def pause(self, failures: int) -> None:
        """Wait after a failure: exponentially longer, with jitter, never past the login's life."""
        longest = _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)]
        seconds, left = longest * random.uniform(0.5, 1.0), self._owned.remaining_seconds()  # noqa: S311  # spreads load
        # After the life's end there is a last look, which may need several tries: it must not become a busy loop.
        await asyncio.sleep(min(seconds, left) if left > 0 else seconds)

    # --- calls

    async def call(self, request: Any, *, patience_seconds: float = 0.0) -> Any:
        """Make one paced request. That Telegram does not know the auth key is believed after ``DOUBT_SECONDS`` only.

        Args:
            patience_seconds: as in ``PacedCaller.call``.

        Raises:
            as ``PacedCaller.call``.
        """
        doubted_until: float | None = None
        while True:
            try:
                return await self._call(request, patience_seconds=patience_seconds)
            except NotAuthorized as exc:
                doubted_until = doubted_until or time.monotonic() + DOUBT_SECONDS
                if not exc.ambiguous or time.monotonic() >= doubted_until:
                    raise

    async def ask_key(self) -> KeyState:
        """Ask Telegram where the auth key stands: the scan may have happened while no worker was there.

        "Nobody is logged in" is an ordinary answer, but not once Telegram has said otherwise of this key: then it is doubted
        as in ``call``, and an error in the end.

        Raises:
            LoginFailed: the account is banned or deactivated.
            NotAuthorized: somebody was logged in, and is no longer.
            as ``call``.
        """
        request = GetUsersRequest([InputUserSelf()])
        while True:
            try:
                users = await (self.call(request) if self._accepted else self._call(request))
            except PasswordNeeded:
                return KeyState.PASSWORD_PENDING
            except MigrateTo as exc:
                await self.move_to(exc.dc_id, call="users.getUsers")
            except NotAuthorized as exc:
                fail_if_account_is_dead(exc)
                if self._accepted or not exc.ambiguous:
                    raise
                if not self._just_moved():
                    return KeyState.UNAUTHORIZED
            else:
                self.note_accepted()
                self.account = account_of(users)
                self._caller.caller.telegram_user_id = self.account.telegram_user_id
                return KeyState.AUTHORIZED

    @property
    def accepted(self) -> bool:
        """Whether somebody has scanned (or typed) for this auth key, as far as Telegram told."""
        return self._accepted

    def note_accepted(self) -> None:
        """Note that Telegram has said of this auth key that somebody logs in, or is logged in, with it."""
        self._accepted = True

    async def log_out(self) -> None:
        """Log the auth key out, whether it is authorized or waits for a password.

        The caller has claimed the key, which has left its login: no guard is asked.

        Raises:
            ConnectionLost, Transient, FloodWait, TelegramRefused: it is not known to be logged out.
        """
        with contextlib.suppress(NotAuthorized):
            await self._caller.call(self.connection, LogOutRequest(), timeout_seconds=_LOG_OUT_SECONDS, guarded=False)

    # --- the auth key

    async def keep_auth_key(self, *, patience_seconds: float = 0.0, **changes: Any) -> None:
        """Have the row keep the present auth key, and write changes with it; see ``OwnedLogin.keep_auth_key``."""
        connection = self.connection
        await self._owned.keep_auth_key(
            connection.auth_key, connection.data_centre, patience_seconds=patience_seconds, **changes
        )

    async def drop_auth_key(self, *, known_dead: bool) -> None:
        """Go on with a new auth key; the present one leaves to be logged out. Disconnects first.

        Raises:
            as ``OwnedLogin.drop_auth_key``; the key stays the present one then.
        """
        await self.disconnect()
        if self._auth_key is not None and self._auth_key == self._owned.kept_auth_key:
            await self._owned.drop_auth_key(self._auth_key, self._data_centre, known_dead=known_dead)
        self._auth_key = None
        self._start_anew()

    # --- inside

    def _start_anew(self) -> None:
        self.account, self._accepted = None, False
        self._caller.new_auth_key()

    async def _call(self, request: Any, *, patience_seconds: float = 0.0) -> Any:
        self.asked_at = time.monotonic()
        try:
            answer = await self._caller.call(self.connection, request, patience_seconds=patience_seconds)
            self.answered_at = time.monotonic()
            return answer
        except PasswordNeeded:
            self.note_accepted()
            raise
        except AnswerTimeout:
            self._owned.core.metrics.auth_qr_timeout.labels(tenant_id=self._tenant_id).inc()
            raise

    def _just_moved(self) -> bool:
        return self._moved_at is not None and time.monotonic() - self._moved_at < DOUBT_SECONDS

    async def _open(self, auth_key: bytes | None, data_centre: DataCentre) -> None:
        owned = self._owned
        connection = owned.warm.take(owned.identity, data_centre) if auth_key is None else None
        if connection is not None:
            connection.tell(on_update=self._on_update, on_closed=owned.wake)
        else:
            connection = TelegramConnection(
                identity=owned.identity,
                data_centre=data_centre,
                auth_key=auth_key,
                handshakes=owned.telegram.handshakes,
                on_update=self._on_update,
                on_closed=owned.wake,
            )
            await connection.open()
        self._connection = connection
        self._auth_key, self._data_centre = connection.auth_key, data_centre
        self._caller.caller.use_auth_key(connection.auth_key)

    def _on_update(self, update: Any) -> None:
        inner = getattr(update, "updates", None) or [getattr(update, "update", None)]
        if any(isinstance(each, UpdateLoginToken) for each in inner):
            self.token_updates += 1
            self._owned.wake()


def fail_if_account_is_dead(error: NotAuthorized) -> None:
    """End the login when the account, and not only the auth key, is out of use.

    Raises:
        LoginFailed: it is.
    """
    if error.cause == "user_deactivated":
        raise LoginFailed("account_deactivated") from error
    if error.cause == "user_deactivated_ban":
        raise LoginFailed("account_banned") from error


def _kept_data_centre(owned: OwnedLogin) -> DataCentre | None:
    login = owned.login
    if login.dc_id is None or login.dc_host is None or login.dc_port is None:
        return None
    return DataCentre(dc_id=login.dc_id, host=login.dc_host, port=login.dc_port)
