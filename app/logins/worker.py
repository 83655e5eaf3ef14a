"""The logins of one worker process: what its threads block on, and how they leave when the process must end."""

from __future__ import annotations

from app.core import Core
from app.logins.endings import RunOutcome
from app.logins.keeper import LoginKeeper
from app.logins.owned import LoginParts
from app.logins.rows import LoginRows
from app.logins.run import run_login
from app.logs import get_logger
from app.telegram.process import TelegramParts

_log = get_logger(__name__)


class LoginWorker:
    """Runs logins for the process's threads. Built once, after the process's loop thread."""

    def __init__(self, core: Core, telegram: TelegramParts) -> None:
        self._core = core
        self._telegram = telegram
        self._keeper = telegram.runtime.run(self._start_keeper())
        self._parts = LoginParts(core, telegram, self._keeper, LoginRows(core, telegram.runtime))

    def run(self, login_id: str) -> RunOutcome:
        """Drive a login and block this thread until it has an outcome. Safe to run twice, and anywhere.

        Raises:
            Unavailable, KeyUnavailable, Transient: something that is needed is away; the sweep sends the login again.
        """
        return self._telegram.runtime.run(run_login(self._parts, login_id))

    def drain(self) -> None:
        """Make every login hand itself over, and those that still come too; their threads return soon after."""
        _log.info("logins.draining", logins=len(self._keeper))
        self._telegram.runtime.run(self._keeper.drain(), timeout_seconds=15.0)

    def stop(self) -> None:
        """Stop renewing locks. What is still held runs out."""
        self._telegram.runtime.run(self._keeper.stop(), timeout_seconds=5.0)

    async def _start_keeper(self) -> LoginKeeper:
        keeper = LoginKeeper(self._core, redis=self._telegram.redis)
        await keeper.start()
        return keeper
