"""A Telethon client that keeps to its lease: paced, calm when it reconnects, and silent once the lease is over.

It is an ordinary ``TelegramClient`` otherwise; anything that Telethon can do goes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

from telethon import TelegramClient
from telethon.errors import AuthKeyDuplicatedError, AuthKeyNotFound, UnauthorizedError
from telethon.network import ConnectionTcpFull
from telethon.sessions import StringSession

from .errors import LeaseLost

Guard = Callable[[], None]
"""Raises LeaseLost once the session may not be used any more."""

DEATHS = (UnauthorizedError, AuthKeyDuplicatedError, AuthKeyNotFound)
"""What Telethon raises when Telegram says that a session is over."""

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_CALM_SECONDS = 30.0  # a connection that lasted that long was a good one
_API_HASH = "not needed: the session is authorized"


class LeasedClient(TelegramClient):  # type: ignore[misc]  # Telethon ships no types
    """See the module.

    Args:
        pace_seconds: the pause between a request's start or the last answer and the next request: at least, and at most.
        guard: asked before anything is sent.
        options: of ``TelegramClient``.
    """

    def __init__(
        self, session_string: str, api_id: int, *, pace_seconds: tuple[float, float], guard: Guard, **options: Any
    ) -> None:
        self._pace_seconds = pace_seconds
        self._next_request_at = 0.0
        session = StringSession(session_string)
        super().__init__(
            session,
            api_id,
            _API_HASH,
            connection=_calm_transport(guard, on_connected=self._on_connected, on_sent=self._pause_from_now),
            connection_retries=-1,  # for as long as the lease lasts; the transport makes the pauses
            retry_delay=0,
            # Telethon would go to its own IPv4 address instead of the session's.
            **({"use_ipv6": ":" in (session.server_address or "")} | options),
        )
        self._lease_guard = guard
        self._pace_lock = asyncio.Lock()
        self._healthy: bool | None = None

    async def __call__(self, request: Any, ordered: bool = False, flood_sleep_threshold: int | None = None) -> Any:
        """Make a request, not sooner than the pace allows, and when the one before is answered (or cancelled).

        One at a time, because Telethon sends again at once all that was on its way when a connection broke.

        Raises:
            LeaseLost: the lease is over; nothing was sent.
        """
        async with self._pace_lock:
            # Something else may leave meanwhile.
            while (pause := self._next_request_at - time.monotonic()) > 0:  # noqa: ASYNC110  # a clock, and no event
                await asyncio.sleep(pause)
            self._lease_guard()
            try:
                answer = await super().__call__(request, ordered, flood_sleep_threshold)
            except DEATHS:
                self.note_death()
                raise
            finally:
                # By the answer too: then no delay on the way can bring two requests closer together.
                self._pause_from_now()
        if self._healthy is None:  # a bad word is not taken back by a good one: Latchkey looks into it
            self._healthy = True
        return answer

    def _on_connected(self) -> None:
        """Telethon is about to send again what was on its way: not what nobody waits for any more, and then comes a pause."""
        pending = self._sender._pending_state
        for msg_id in [msg_id for msg_id, state in pending.items() if state.future.cancelled()]:
            del pending[msg_id]
        self._pause_from_now()

    def _pause_from_now(self) -> None:
        self._next_request_at = time.monotonic() + random.uniform(*self._pace_seconds)  # noqa: S311  # pacing

    @property
    def health(self) -> bool | None:
        """What Telegram's answers said since the health was last reported: True alive, False dead, None nothing."""
        return False if self._is_unknown() else self._healthy

    def note_death(self) -> None:
        """Note that Telegram says the session is over."""
        self._healthy = False

    def note_reported(self, health: bool | None) -> None:
        """Note that Latchkey has been told; what Telegram has answered otherwise since then is still to be told."""
        if self._healthy is health:
            self._healthy = None

    def _is_unknown(self) -> bool:
        # A server that does not know the auth key says so below all calls, also when the program makes none.
        gone = self._sender._disconnected
        return bool(
            gone is not None and gone.done() and not gone.cancelled() and isinstance(gone.exception(), AuthKeyNotFound)
        )


def _calm_transport(
    guard: Guard, *, on_connected: Callable[[], None], on_sent: Callable[[], None]
) -> type[ConnectionTcpFull]:
    """Telethon reconnects without a pause when a server accepts and closes; this transport makes it wait.

    It also asks the guard before anything leaves, because Telethon sends by itself: keep-alives, acknowledgements, requests
    again that sat out a flood wait or were on their way when the connection broke. After these, too, comes a pause.

    Args:
        on_connected: called when a connection stands, before anything leaves on it.
        on_sent: called whenever something leaves.
    """

    class CalmTransport(ConnectionTcpFull):  # type: ignore[misc]  # Telethon ships no types
        """One client's way to Telegram: Telethon connects the same object anew each time."""

        _failures = 0
        _connected_at = 0.0

        async def connect(self, timeout: float | None = None, ssl: Any = None) -> None:
            """Connect, after a pause that grows while connections do not last."""
            if time.monotonic() - self._connected_at > _CALM_SECONDS:
                self._failures = 0
            if self._failures:
                longest = min(_FIRST_PAUSE_SECONDS * 2**self._failures, _LONGEST_PAUSE_SECONDS)
                await asyncio.sleep(longest * random.uniform(0.5, 1.0))  # noqa: S311  # spreads load only
            self._failures = min(self._failures + 1, 10)
            _ask(guard)
            self._connected_at = time.monotonic()
            await super().connect(timeout=timeout, ssl=ssl)
            on_connected()

        async def send(self, data: bytes) -> None:
            """Send, as long as the lease lasts."""
            _ask(guard)
            on_sent()
            await super().send(data)

    return CalmTransport


def _ask(guard: Guard) -> None:
    try:
        guard()
    except LeaseLost as exc:
        raise ConnectionError("the lease is over") from exc
