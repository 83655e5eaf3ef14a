"""The logins of one worker process: what its threads block on, and how they leave when the process must end."""

from __future__ import annotations

import asyncio

from app.collecting import Collector
from app.core import Core
from app.logins.endings import RunOutcome
from app.logins.keeper import LoginKeeper
from app.logins.owned import LoginParts
from app.logins.rows import LoginRows
from app.logins.run import run_login
from app.logs import get_logger
from app.supervision import supervise
from app.telegram.connection import TELEGRAM_DC, TelegramConnection
from app.telegram.identity import identity_for
from app.telegram.process import TelegramParts
from app.telegram.warm import WarmConnections

_log = get_logger(__name__)


class LoginWorker:
    """Runs logins for the process's threads. Built once, after the process's loop thread."""

    def __init__(self, core: Core, telegram: TelegramParts) -> None:
        self._core = core
        self._telegram = telegram
        self._tasks: list[asyncio.Task[None]] = []
        self._parts = telegram.runtime.run(self._start())

    @property
    def warm(self) -> WarmConnections:
        """The connections that wait for a login. They belong to the loop."""
        return self._parts.warm

    def run(self, login_id: str) -> RunOutcome:
        """Drive a login and block this thread until it has an outcome. Safe to run twice, and anywhere.

        Raises:
            Unavailable, KeyUnavailable, Transient: something that is needed is away; the sweep sends the login again.
        """
        return self._telegram.runtime.run(run_login(self._parts, login_id))

    def drain(self) -> None:
        """Make every login hand itself over, and those that still come too; their threads return soon after."""
        _log.info("logins.draining", logins=len(self._parts.keeper))
        self._telegram.runtime.run(self._parts.keeper.drain(), timeout_seconds=15.0)

    def stop(self) -> None:
        """Stop renewing locks. What is still held runs out."""
        self._telegram.runtime.run(self._stop(), timeout_seconds=5.0)

    async def _start(self) -> LoginParts:
        core, telegram = self._core, self._telegram
        keeper = LoginKeeper(core, redis=telegram.redis)
        await keeper.start()
        collector = Collector(lambda: len(keeper))
        collector.collect()
        collecting = supervise(collector.keep_collecting, name="collector", metrics=core.metrics)
        self._tasks.append(asyncio.create_task(collecting))
        warm = WarmConnections(
            count=core.settings.warm_connections, make=self._make_connection, gauge=core.metrics.warm_connections
        )
        if core.settings.warm_connections:
            warming = supervise(warm.keep, name="warm_connections", metrics=core.metrics)
            self._tasks.append(asyncio.create_task(warming))
        return LoginParts(core, telegram, keeper, LoginRows(core, telegram.runtime), warm)

    def _make_connection(self) -> TelegramConnection:
        settings = self._core.settings
        return TelegramConnection(
            identity=identity_for(settings, {}),
            data_centre=settings.data_centre or TELEGRAM_DC,
            auth_key=None,
            handshakes=self._telegram.handshakes,
        )

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._parts.keeper.stop()
