"""One connection to one data centre under one auth key.

Stands on Telethon's ``MTProtoSender`` (``app.telegram.sending``) rather than on ``TelegramClient``: the client asks ``get_me``
by itself at each connect, reconnects without a pause, sleeps through flood waits and keeps an entity cache; a login wants none
of that and every request under its own control. The session that comes out is an ordinary Telethon string session.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from telethon.crypto import AuthKey
from telethon.tl.alltlobjects import LAYER
from telethon.tl.functions import (
    InitConnectionRequest,
    InvokeWithLayerRequest,
    InvokeWithoutUpdatesRequest,
    PingRequest,
)
from telethon.tl.functions.help import GetConfigRequest

from app.settings import DataCentre
from app.telegram.errors import AnswerTimeout, ConnectionLost
from app.telegram.identity import ApiIdentity, parse_proxy
from app.telegram.sending import DirectSender, DirectTcpFull
from app.telegram.spans import request_span
from app.telegram.string_sessions import make_string_session
from app.telegram.translation import translate
from app.timers import TimeIsUp, within

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 15.0
DISCONNECT_SECONDS = 3.0
HANDSHAKES_AT_ONCE = 8
TELEGRAM_DC = DataCentre(dc_id=2, host="149.154.167.51", port=443)
"""Where a new client starts at Telegram itself. Source: https://core.telegram.org/api/datacenter"""

LOGGER_NAME = "telethon.network"
_logger = logging.getLogger(LOGGER_NAME)

OnUpdate = Callable[[Any], None]


class _Loggers(dict[str, logging.Logger]):
    """Telethon asks for its loggers by module name; one logger serves, so that one filter does."""

    def __missing__(self, name: str) -> logging.Logger:
        return _logger


class _Updates:
    """Stands where Telethon wants a queue; hands each update on at once."""

    def __init__(self, on_update: OnUpdate | None) -> None:
        self.on_update = on_update

    def put_nowait(self, update: Any) -> None:
        if self.on_update is not None:
            self.on_update(update)


class TelegramConnection:
    """A connection: made by ``open`` or ``join``, ended by ``close``, never reconnected by itself.

    Args:
        auth_key: 256 bytes, or None to make a new one in ``open``.
        on_update: called on the loop with each ``Updates`` object that the server pushes.
        on_closed: called on the loop once when the connection has ended, for whatever reason.
        receive_updates: False asks the server to push no updates here: right for a look at a session, wrong for a login.
        handshakes: bounds how many new keys are made at once, because that blocks the loop for some milliseconds each.
    """

    def __init__(
        self,
        *,
        identity: ApiIdentity,
        data_centre: DataCentre,
        auth_key: bytes | None,
        handshakes: asyncio.Semaphore,
        on_update: OnUpdate | None = None,
        on_closed: Callable[[], None] | None = None,
        receive_updates: bool = True,
    ) -> None:
        self.identity = identity
        self.data_centre = data_centre
        self.server_time_offset_seconds = 0.0
        self.is_new = True
        """Nobody has opened or joined it yet."""
        self._introduced = False
        self._dc_options: list[Any] = []
        self._handshakes = handshakes
        self._had_key = auth_key is not None
        self._on_closed = on_closed
        self._receive_updates = receive_updates
        self._updates = _Updates(on_update)
        self._sender = DirectSender(
            AuthKey(auth_key),
            loggers=_Loggers(),
            retries=0,
            delay=0,
            auto_reconnect=False,
            connect_timeout=CONNECT_SECONDS,
            updates_queue=self._updates,
        )

    def tell(self, *, on_update: OnUpdate, on_closed: Callable[[], None]) -> None:
        """Tell somebody else of updates and of the end: a connection that was made for whoever comes has got its user."""
        self._updates.on_update = on_update
        self._on_closed = on_closed

    @property
    def auth_key(self) -> bytes:
        """The auth key, 256 bytes; there is one after ``open``."""
        key: bytes = self._sender.auth_key.key
        return key

    @property
    def connected(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return bool(self._sender.is_connected())

    async def open(self) -> None:
        """Connect, make an auth key if there is none, and introduce ourselves (``initConnection``, ``help.getConfig``).

        Raises:
            ConnectionLost: it did not come about within 10 s of its turn.
            NotAuthorized: the server does not know this auth key.
        """
        # The wait for a turn is outside the time limit: in a crowd it is longer, and says nothing about Telegram.
        async with contextlib.nullcontext() if self._had_key else self._handshakes:
            with request_span("help.getConfig", dc_id=self.data_centre.dc_id):
                await self._begin(self._open)

    async def join(self) -> None:
        """As ``open``, under an auth key that there is, but say nothing yet: the first request introduces us.

        For whoever has one question: it saves ``help.getConfig``. ``find_data_centre`` and the server's time know nothing then,
        and the first answer may take no longer than an introduction: 10 s.

        Raises:
            ConnectionLost: it did not come about within 10 s.
        """
        assert self._had_key
        await self._begin(self._connect)

    async def invoke(self, request: Any, *, method: str, timeout_seconds: float = ANSWER_SECONDS) -> Any:
        """Send one request and wait for its answer. Pacing and gates are ``app.telegram.calls``'.

        Raises:
            AnswerTimeout, ConnectionLost, FloodWait, TelegramRefused, …: see ``app.telegram.errors``.
        """
        if self._introduced:
            return await self._invoke(self._wrap(request), method=method, timeout_seconds=timeout_seconds)
        introduction, timeout_seconds = self._introduction(request), min(timeout_seconds, CONNECT_SECONDS)
        answer = await self._invoke(introduction, method=method, timeout_seconds=timeout_seconds)
        self._introduced = True
        return answer

    async def ping(self) -> None:
        """Find out whether the connection still stands.

        Raises:
            ConnectionLost: it does not.
        """
        ping = PingRequest(ping_id=time.time_ns() % 2**62)
        await self._invoke(ping, method="ping", timeout_seconds=ANSWER_SECONDS)

    def find_data_centre(self, dc_id: int) -> DataCentre:
        """Where a data centre listens, as the server told in ``help.getConfig``.

        Raises:
            ConnectionLost: the server did not name it.
        """
        usable = [each for each in self._dc_options if not (each.media_only or each.cdn or each.tcpo_only)]
        for option in sorted(usable, key=lambda each: bool(each.ipv6)):
            if option.id == dc_id and (host := self._host_of(option.ip_address)):
                return DataCentre(dc_id=dc_id, host=host, port=option.port)
        if dc_id == self.data_centre.dc_id:
            return self.data_centre
        raise ConnectionLost(f"Telegram named no address for data centre {dc_id}.")

    def _host_of(self, address: str) -> str | None:
        """An advertised address, if it is one. 0.0.0.0 is what a server listens on: then it is where we reached this one."""
        try:
            return self.data_centre.host if ipaddress.ip_address(address).is_unspecified else address
        except ValueError:
            return None

    @property
    def has_address(self) -> bool:
        """Whether the data centre is known by an address: then ``string_session`` has nothing to look up."""
        try:
            ipaddress.ip_address(self.data_centre.host)
        except ValueError:
            return False
        return True

    def string_session(self) -> str:
        """The Telethon string session of this auth key at this data centre. Blocks for a host name's look-up.

        Raises:
            ConnectionLost: the host name has no address.
        """
        return make_string_session(auth_key=self.auth_key, data_centre=self.data_centre)

    async def close(self) -> None:
        """Disconnect within 3 s, without logging out. Never raises; may be repeated."""
        try:
            async with asyncio.timeout(DISCONNECT_SECONDS):
                await self._sender.disconnect()
        except (TimeoutError, OSError):
            pass  # the socket is given up; nothing of it is used again

    async def _open(self) -> None:
        await self._connect()
        introduction = self._introduction(GetConfigRequest())
        self._learn(await self._invoke(introduction, method="help.getConfig", timeout_seconds=CONNECT_SECONDS))
        self._introduced = True

    async def _begin(self, connect: Callable[[], Awaitable[None]]) -> None:
        self.is_new = False
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connect()
        except TimeoutError as exc:
            await self.close()
            raise ConnectionLost("Telegram did not answer in time while connecting.") from exc
        except BaseException:
            await self.close()
            raise

    async def _connect(self) -> None:
        dc = self.data_centre
        transport = DirectTcpFull(
            dc.host,
            dc.port,
            dc.dc_id,
            loggers=_Loggers(),
            proxy=parse_proxy(self.identity.proxy) if self.identity.proxy else None,
        )
        try:
            await self._sender.connect(transport)
        except Exception as exc:
            # What Telethon raises here depends on what a server sends: nothing of it is our mistake.
            lost = ConnectionLost(f"No connection to data centre {dc.dc_id} ({type(exc).__name__}).")
            if self.identity.proxy is not None:
                raise lost from None  # a proxy's library puts its password into the exception's text
            raise lost from exc
        self._sender._disconnected.add_done_callback(self._closed)

    def _closed(self, done: asyncio.Future[None]) -> None:
        # Nobody awaits Telethon's own future; taking its exception keeps asyncio from logging it as lost.
        if not done.cancelled():
            done.exception()
        if self._on_closed is not None:
            self._on_closed()

    def _introduction(self, query: Any) -> InvokeWithLayerRequest:
        me = self.identity
        return InvokeWithLayerRequest(
            LAYER,
            self._wrap(
                InitConnectionRequest(
                    api_id=me.api_id,
                    device_model=me.device_model,
                    system_version=me.system_version,
                    app_version=me.app_version,
                    lang_code=me.lang_code,
                    system_lang_code=me.lang_code,
                    lang_pack="",
                    query=query,
                )
            ),
        )

    def _wrap(self, request: Any) -> Any:
        return request if self._receive_updates else InvokeWithoutUpdatesRequest(request)

    def _learn(self, config: Any) -> None:
        self._dc_options = list(config.dc_options)
        self.server_time_offset_seconds = config.date.timestamp() - time.time()

    async def _invoke(self, request: Any, *, method: str, timeout_seconds: float) -> Any:
        try:
            answer = self._sender.send(request)
        except ConnectionError as exc:
            raise translate(exc, method=method) from exc
        try:
            return await within(timeout_seconds, answer)
        except TimeIsUp as exc:
            raise AnswerTimeout(f"Telegram gave no answer to {method} within {timeout_seconds:.0f} s.") from exc
        except Exception as exc:
            raise translate(exc, method=method) from exc
