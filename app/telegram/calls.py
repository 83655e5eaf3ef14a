"""Paced calls: how this code talks on a connection. Every request goes through ``PacedCaller.call``.

Between two requests of one auth key lie 200 to 500 ms; a closed gate stops the call; what Telegram answers is counted and
translated.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from app.errors import AppError, FloodWait, Transient
from app.metrics import Metrics
from app.telegram.connection import ANSWER_SECONDS, TelegramConnection
from app.telegram.errors import AnswerTimeout, MigrateTo, NotAuthorized, PasswordNeeded, TelegramRefused
from app.telegram.flood import FloodWaitManager
from app.telegram.gates import Caller
from app.telegram.spans import request_span

PACE_SECONDS = (0.2, 0.5)

Guard = Callable[[], Awaitable[None]]
"""Asked right before a request goes out; raises when the caller may not send (any more)."""


async def always() -> None:
    """The guard of callers that hold no lock that they could lose."""


class PacedCaller:
    """Calls on the connections of one account or login, one at a time.

    It outlives its connections, because pacing goes by auth key and not by connection.

    Args:
        caller: whose flood waits the calls share; whoever learns of an auth key or an account tells it.
        fresh: whether the auth key is yet to be made; a known one may have been used a moment ago, by another worker.
        guard: see ``Guard``.
        tick_seconds: pauses end at multiples of it, by ``time.monotonic``, and stay within ``PACE_SECONDS``. So the calls of
            many callers that would have gone out one by one share rounds of the event loop and of Redis.
    """

    def __init__(
        self,
        *,
        floods: FloodWaitManager,
        metrics: Metrics,
        caller: Caller,
        fresh: bool,
        guard: Guard = always,
        tick_seconds: float | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.caller = caller
        self._floods = floods
        self._metrics = metrics
        self._guard = guard
        self._tick_seconds = tick_seconds
        self._uniform = uniform
        self._answered_at: float | None = None if fresh else time.monotonic()

    def new_auth_key(self) -> None:
        """Note that the next request goes out under a new auth key, which has not been used yet."""
        self._answered_at = None

    async def call(
        self,
        connection: TelegramConnection,
        request: Any,
        *,
        timeout_seconds: float = ANSWER_SECONDS,
        guarded: bool = True,
        patience_seconds: float = 0.0,
    ) -> Any:
        """Make one request, on a connection that stands or on a new one, which this request then opens.

        Args:
            patience_seconds: for how long it may wait, so that its gate is asked about together with others'.
            guarded: False for what must go out although the caller may do nothing else any more: a log-out.

        Raises:
            FloodWait: Telegram or a closed gate says to wait.
            PasswordNeeded, NotAuthorized, MigrateTo, TelegramRefused: Telegram's answer.
            ConnectionLost, Transient: nothing is known; try again.
            Unavailable: Redis is away.
            whatever the guard raises.
        """
        gate = self.caller.gate_of(request)
        method = gate.method
        await self._pace()
        # After the pause, not before: meanwhile another worker may have been told to wait.
        await self._floods.check(gate, patience_seconds=patience_seconds)
        if guarded:
            await self._guard()
        started = time.monotonic()
        outcome = "ok"
        try:
            with request_span(method, dc_id=connection.data_centre.dc_id):
                if connection.is_new:
                    await connection.join()
                answer = await connection.invoke(request, method=method, timeout_seconds=timeout_seconds)
            self.caller.learn_from(answer)
            return answer
        except FloodWait as exc:
            outcome = "flood_wait"
            await self._floods.close(gate, wait_seconds=exc.wait_seconds)
            raise
        except AppError as exc:
            outcome = _outcome(exc)
            raise
        finally:
            # By the answer, not by the sending: then no delay on the way can bring two requests closer together.
            self._answered_at = time.monotonic()
            self._metrics.requests.labels(method=method, outcome=outcome).inc()
            self._metrics.request_duration_seconds.labels(method=method).observe(self._answered_at - started)

    async def _pace(self) -> None:
        if self._answered_at is None:
            return
        pause = self._next_call_at(self._answered_at) - time.monotonic()
        self._metrics.throttling_delay_seconds.observe(max(0.0, pause))
        if pause > 0:
            await asyncio.sleep(pause)

    def _next_call_at(self, answered_at: float) -> float:
        shortest, longest = PACE_SECONDS
        if self._tick_seconds is None:
            return answered_at + self._uniform(shortest, longest)
        chosen = answered_at + self._uniform(shortest, longest - self._tick_seconds)
        return math.ceil(chosen / self._tick_seconds) * self._tick_seconds


def _outcome(error: AppError) -> str:
    match error:
        case AnswerTimeout():
            return "timeout"
        case PasswordNeeded() | MigrateTo():
            return "ok"
        case NotAuthorized() | TelegramRefused():
            return "refused"
        case Transient():
            return "connection_lost"
        case _:
            return "error"
