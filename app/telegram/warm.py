"""Warm connections: a few that have made their auth key and introduced themselves, so that a person waits for neither.

Off unless ``WARM_CONNECTIONS`` says how many. Each is given to one login, which goes on with its auth key; nobody is logged in
with that yet. One that nobody took for ``LIFE_SECONDS`` is closed and made anew: Telegram drops connections that are silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable

from prometheus_client import Gauge

from app.errors import AppError
from app.logs import get_logger
from app.settings import DataCentre
from app.telegram.connection import TelegramConnection
from app.telegram.identity import ApiIdentity

LIFE_SECONDS = 45.0
"""Telegram closes a connection that has been silent for longer than 75 s; on the way, some are forgotten after a minute."""

_LOOK_SECONDS = 1.0
_AFTER_YOU_SECONDS = 0.1  # to make a key keeps the loop busy: whoever took a connection shows the QR code first
_FAILED_SECONDS = 5.0

_log = get_logger(__name__)


class WarmConnections:
    """See the module. Lives on the loop.

    Args:
        count: how many are kept.
        make: makes a connection that is not open yet; what it is for says ``identity`` and ``data_centre``.
        gauge: shows how many there are.
    """

    def __init__(
        self, *, count: int, make: Callable[[], TelegramConnection], gauge: Gauge, life_seconds: float = LIFE_SECONDS
    ) -> None:
        self._count = count
        self._make = make
        self._gauge = gauge
        self._life_seconds = life_seconds
        self._kept: deque[tuple[float, TelegramConnection]] = deque()
        self._taken = asyncio.Event()

    def take(self, identity: ApiIdentity, data_centre: DataCentre) -> TelegramConnection | None:
        """Have a connection of that identity to that data centre; None: there is none. It is the caller's from now on."""
        while self._kept:
            until, connection = self._kept.pop()  # the youngest: it is the least likely to be cut
            self._note()
            if connection.connected and until > time.monotonic():
                if (connection.identity, connection.data_centre) == (identity, data_centre):
                    return connection
                self._kept.append((until, connection))  # they are all alike
                self._note()
                return None
        return None

    async def keep(self) -> None:
        """Keep the number up, until cancelled; then close what is there."""
        try:
            while True:
                await self._drop_old()
                if len(self._kept) < self._count:
                    await self._add()
                else:
                    await self._until_taken()
        finally:
            await asyncio.gather(*(connection.close() for _, connection in self._kept))
            self._kept.clear()
            self._note()

    async def _add(self) -> None:
        connection = self._make()
        try:
            await connection.open()
        except AppError as exc:
            _log.info("warm_connections.cannot_be_made", detail=exc.detail)
            await asyncio.sleep(_FAILED_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311  # spreads load
            return
        # Spread, so that they do not all grow old at once.
        self._kept.append((time.monotonic() + self._life_seconds * random.uniform(0.7, 1.0), connection))  # noqa: S311
        self._note()

    async def _drop_old(self) -> None:
        now = time.monotonic()
        old = [connection for until, connection in self._kept if until <= now or not connection.connected]
        self._kept = deque((until, each) for until, each in self._kept if each not in old)
        self._note()
        for connection in old:
            await connection.close()

    async def _until_taken(self) -> None:
        self._taken.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._taken.wait()
            await asyncio.sleep(_AFTER_YOU_SECONDS)

    def _note(self) -> None:
        self._gauge.set(len(self._kept))
        self._taken.set()
