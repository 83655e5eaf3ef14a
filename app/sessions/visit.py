"""A visit: a few paced calls on a session that this process holds, on a connection that wants no updates."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from app.core import Core
from app.sessions.holding import HeldSession
from app.telegram.calls import PacedCaller
from app.telegram.connection import TelegramConnection
from app.telegram.gates import Caller
from app.telegram.process import TelegramParts

_TICK_SECONDS = 0.05
"""Hundreds of sessions are visited at once, and none of them is in a hurry."""


class Visit:
    """See the module. An ``async with`` block; at its end the connection is closed, and the lease may be given up."""

    def __init__(self, core: Core, telegram: TelegramParts, held: HeldSession) -> None:
        self._telegram = telegram
        self._held = held
        self._connection: TelegramConnection | None = None
        caller = Caller(
            core.settings,
            api_id=held.identity.api_id,
            auth_key=held.auth_key,
            # Before Telegram has said whose it is, an imported session's account is only claimed.
            telegram_user_id=held.row.telegram_user_id if held.row.last_validated_at else None,
        )
        # Not fresh: whoever held the session before may have used it a moment ago, so that the first call waits, too.
        self._caller = PacedCaller(
            floods=telegram.floods,
            metrics=core.metrics,
            caller=caller,
            fresh=False,
            guard=self._guard,
            tick_seconds=_TICK_SECONDS,
        )

    async def __aenter__(self) -> Visit:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def call(self, request: Any) -> Any:
        """Make one request, on the present connection or a new one.

        Raises:
            HoldLost: the lease is about to run out.
            as ``PacedCaller.call`` and ``TelegramConnection.join``.
        """
        if self._connection is None or not self._connection.connected:
            await self.close()
            self._connection = self._make_connection()
        return await self._caller.call(self._connection, request)

    async def close(self) -> None:
        """Disconnect without logging out; the next call connects again. May be repeated."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    def _make_connection(self) -> TelegramConnection:
        return TelegramConnection(
            identity=self._held.identity,
            data_centre=self._held.data_centre,
            auth_key=self._held.auth_key,
            handshakes=self._telegram.handshakes,
            receive_updates=False,
        )

    async def _guard(self) -> None:
        self._held.check()
