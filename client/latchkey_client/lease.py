"""One lease, from acquiring to releasing, with a connected client inside.

The lease counts from before it was asked for, by a clock that goes on while the process is stopped, and is given up some
seconds early: so the client is disconnected before Latchkey could give the session to somebody else, whatever fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from . import leases
from .drivers import AsyncDriver
from .errors import LatchkeyError, LatchkeyUnavailable, LeaseLost, SessionDead, SessionLeased
from .models import Lease
from .telegram import DEATHS, LeasedClient

DISCONNECT_SECONDS = 3.0

_CONNECT_SECONDS = 20.0
_OWN_HOLDERS = "latchkey:"  # Latchkey itself holds sessions for moments, to validate them
_OWN_HOLD_SECONDS = 60.0
_ASK_AGAIN_SECONDS = 0.5

_log = logging.getLogger("latchkey.client")


class SessionLease:
    """See the module. An ``async with`` block that yields the client.

    When the lease is lost, the block is cancelled where it stands, and leaves with ``LeaseLost``.

    Args:
        make_driver: called at the block's start, in its event loop.
        ttl_seconds: 10 to 3600; renewed at a third of it, if that is sooner than ``renew_seconds``.
        options: of Telethon's ``TelegramClient``.
    """

    def __init__(
        self,
        session_id: str,
        *,
        make_driver: Callable[[], AsyncDriver],
        holder: str,
        ttl_seconds: int,
        purpose: str | None,
        renew_seconds: float,
        pace_seconds: tuple[float, float],
        options: dict[str, Any],
    ) -> None:
        self._session_id = session_id
        self._make_driver = make_driver
        self._driver: AsyncDriver | None = None
        self._holder = holder
        self._ttl_seconds = ttl_seconds
        self._purpose = purpose
        self._pace_seconds = pace_seconds
        self._options = options
        self._margin_seconds = min(10.0, max(DISCONNECT_SECONDS, ttl_seconds / 4))
        self._renew_seconds = min(renew_seconds, ttl_seconds / 3)
        self._until = 0.0
        self._renew_at = 0.0
        self._granted: Lease | None = None
        self._client: LeasedClient | None = None
        self._disconnected = True
        self._keeper: asyncio.Task[None] | None = None
        self._lost: LeaseLost | None = None
        self._body: asyncio.Task[Any] | None = None
        self._body_cancelling = 0
        self._undo = contextlib.AsyncExitStack()

    async def __aenter__(self) -> LeasedClient:
        """Acquire the lease and connect.

        Raises:
            SessionLeased, SessionNotActive, NotFound, AccessDenied, LatchkeyUnavailable: Latchkey said no.
            SessionDead: Telegram did.
            ConnectionError, TimeoutError: Telegram cannot be reached.
            FloodWaitError: Telethon's, when Telegram asks this account to wait for longer than a minute.
        """
        async with contextlib.AsyncExitStack() as undo:
            self._driver = self._make_driver()
            undo.push_async_callback(self._driver.close)
            self._granted = await self._acquire()
            undo.push_async_callback(self._release)
            self._client = self._make_client(self._granted)
            undo.push_async_callback(self._disconnect)
            await self._connect(self._client)
            self._body = asyncio.current_task()
            assert self._body is not None
            self._body_cancelling = self._body.cancelling()
            self._keeper = asyncio.create_task(self._keep())
            undo.push_async_callback(self._stop_keeping)
            self._undo = undo.pop_all()
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect, then release.

        Raises:
            LeaseLost: the lease was lost meanwhile.
        """
        lost, cancelled_by_others = self._lost, False
        if lost is not None and self._body is not None:
            if kind is not asyncio.CancelledError:  # the block ended by itself first: take its cancellation here
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
            cancelled_by_others = self._body.uncancel() > self._body_cancelling
        await self._undo.aclose()
        if lost is not None and not cancelled_by_others:
            raise lost from error

    def check(self) -> None:
        """Make sure that the session may still be used.

        Raises:
            LeaseLost: it may not.
        """
        if self._lost is not None or time.monotonic() >= self._until - self._margin_seconds:
            raise self._lost or LeaseLost("The lease is over: given up, or not renewed in time.")

    # --- the lease

    async def _acquire(self) -> Lease:
        give_up_at = time.monotonic() + _OWN_HOLD_SECONDS
        while True:
            asked_at = time.monotonic()
            try:
                granted = await self._acquire_once()
            except SessionLeased as exc:
                if not exc.holder.startswith(_OWN_HOLDERS) or asked_at > give_up_at:
                    raise
                await asyncio.sleep(_ASK_AGAIN_SECONDS)
                continue
            self._goes_on_from(asked_at)
            return granted

    async def _acquire_once(self) -> Lease:
        assert self._driver is not None
        return await self._driver.run(
            leases.acquire(self._session_id, holder=self._holder, ttl_seconds=self._ttl_seconds, purpose=self._purpose)
        )

    async def _keep(self) -> None:
        """Renew for as long as the block runs; when that cannot be done in time, end it."""
        assert self._body is not None
        try:
            await self._renew_until_lost()
        except Exception as exc:  # noqa: BLE001  # whatever it is: a lease that nobody renews must not be used
            self._lost = (
                exc if isinstance(exc, LeaseLost) else LeaseLost(f"The lease is not renewed any more: {exc!r}.")
            )
            _log.warning("lease lost: %s", self._lost.detail)
            self._body.cancel()
            # The block does that at its end, too; but it may take its time.
            await self._disconnect()

    async def _renew_until_lost(self) -> None:
        while True:
            # Due from when the lease was asked for: acquiring it and connecting may have taken most of its time.
            await asyncio.sleep(max(0.0, min(self._renew_at - time.monotonic(), self._left_seconds())))
            left = self._left_seconds()
            if left <= 0:
                raise LeaseLost("Latchkey could not be reached to renew the lease in time.")
            asked_at = time.monotonic()
            try:
                # An answer that got lost leaves time for another.
                async with asyncio.timeout(min(left, self._ttl_seconds / 4)):
                    await self._renew()
            except (LatchkeyUnavailable, TimeoutError) as exc:
                _log.info("lease not renewed yet: %s", exc)
                self._renew_at = time.monotonic() + min(2.0, self._ttl_seconds / 12)
            except LatchkeyError as exc:
                raise LeaseLost(exc.detail) from exc
            else:
                self._goes_on_from(asked_at)

    async def _renew(self) -> None:
        assert self._client is not None
        assert self._granted is not None
        assert self._driver is not None
        health, lease_id = self._client.health, self._granted.lease_id
        await self._driver.run(leases.renew(self._session_id, lease_id, ttl_seconds=self._ttl_seconds, healthy=health))
        self._client.note_reported(health)

    def _goes_on_from(self, asked_at: float) -> None:
        self._until = asked_at + self._ttl_seconds
        self._renew_at = asked_at + self._renew_seconds

    def _left_seconds(self) -> float:
        return max(0.0, self._until - self._margin_seconds - time.monotonic())

    async def _stop_keeping(self) -> None:
        assert self._keeper is not None
        self._keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeper

    async def _release(self) -> None:
        assert self._granted is not None
        assert self._driver is not None
        if not self._disconnected:
            _log.warning("lease not released, it runs out: the client may still be connected")
            return
        try:
            health = None if self._client is None else self._client.health
            await self._driver.run(leases.release(self._session_id, self._granted.lease_id, healthy=health))
        except LatchkeyError as exc:
            _log.info("lease not released, it runs out: %s", exc.detail)

    # --- Telegram

    def _make_client(self, granted: Lease) -> LeasedClient:
        return LeasedClient(
            granted.session_string,
            granted.api_id,
            pace_seconds=self._pace_seconds,
            guard=self.check,
            **(dict(granted.device) | self._options),
        )

    async def _connect(self, client: LeasedClient) -> None:
        self._disconnected = False
        # Whoever held the session before may have used it a moment ago.
        await asyncio.sleep(random.uniform(*self._pace_seconds))  # noqa: S311  # pacing
        try:
            async with asyncio.timeout(min(_CONNECT_SECONDS, self._left_seconds())):
                await client.connect()
                if client.health is None:
                    await client.get_me()
            dead = client.health is False
        except DEATHS:
            dead = True
        if dead:
            client.note_death()  # Latchkey hears of it with the release
            raise SessionDead("Telegram says that this session is over.", code="session_dead")

    async def _disconnect(self) -> None:
        if self._client is None:
            return
        self._until = 0.0  # nothing leaves from here on: Telethon may be in the middle of reconnecting
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(DISCONNECT_SECONDS):
                await self._client.disconnect()
                self._disconnected = True
