"""Flood waits: the one place that knows when Telegram may be called again.

A FLOOD_WAIT of N s closes a gate in Redis for its scope until N s have passed, for every worker. Nobody ever calls earlier
than Telegram said; jitter is only added.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable

import redis.asyncio
from redis.exceptions import RedisError

from app.errors import FloodWait, Unavailable
from app.metrics import Metrics
from app.redis_state import flood_gate_key

_CLOSE_GATE = """
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end
"""

LONGEST_RETRY_SECONDS = 60.0
"""A longer wait is not worth holding a login for."""

LONGEST_COUNTDOWN_SECONDS = 60.0
"""The longest countdown to give to Celery's Redis transport; the gate holds whoever comes back too early."""


class FloodWaitManager:
    """Opens and closes the gates. Lives on the loop.

    A gate is also remembered in this process, so that a flushed Redis does not make it call early. When Redis cannot be
    asked, no call is made (fails closed).

    Args:
        uniform: picks a float between two; the randomness of the jitter.
        monotonic: the clock that remembered gates go by.
    """

    def __init__(
        self,
        *,
        redis: redis.asyncio.Redis,
        metrics: Metrics,
        uniform: Callable[[float, float], float] = random.uniform,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._metrics = metrics
        self._uniform = uniform
        self._monotonic = monotonic
        self._closed_until: dict[str, float] = {}
        self._close_script = redis.register_script(_CLOSE_GATE)

    async def check(self, *, method: str, scope: str) -> None:
        """Let a call pass, or not.

        Args:
            scope: ``api:<api_id>`` before authorization, ``user:<id>`` after.

        Raises:
            FloodWait: the gate is closed for that long.
            Unavailable: Redis cannot be asked.
        """
        key = flood_gate_key(method, scope)
        wait_seconds = self._remembered(key)
        try:
            wait_seconds = max(wait_seconds, await self._redis.pttl(key) / 1000.0)
        except (RedisError, OSError) as exc:
            raise Unavailable("Redis cannot be asked whether Telegram may be called.") from exc
        if wait_seconds > 0:
            raise FloodWait(method=method, wait_seconds=wait_seconds)

    async def close(self, *, method: str, scope: str, wait_seconds: float) -> None:
        """Close the gate after Telegram answered FLOOD_WAIT; a gate that is closed for longer stays so."""
        self._metrics.floodwait.labels(method=method).inc()
        self._metrics.floodwait_seconds.observe(wait_seconds)
        key = flood_gate_key(method, scope)
        self._closed_until[key] = max(self._closed_until.get(key, 0.0), self._monotonic() + wait_seconds)
        milliseconds = math.ceil(wait_seconds * 1000)
        try:
            await self._close_script(keys=[key], args=[milliseconds])
        except (RedisError, OSError) as exc:
            raise Unavailable("Redis cannot be told of a flood wait.") from exc

    def countdown(self, wait_seconds: float) -> float:
        """How long to wait in all: what Telegram said plus jitter, so that not everybody comes back at once."""
        return wait_seconds + jitter_seconds(wait_seconds, uniform=self._uniform)

    def _remembered(self, key: str) -> float:
        until = self._closed_until.get(key)
        if until is None:
            return 0.0
        left = until - self._monotonic()
        if left <= 0:
            del self._closed_until[key]
        return left


def jitter_seconds(wait_seconds: float, *, uniform: Callable[[float, float], float] = random.uniform) -> float:
    """10 to 30 % of min(60, 2^min(N//10, 6)), in seconds: never nothing, at most 18."""
    return uniform(0.1, 0.3) * float(min(60, 2 ** min(int(wait_seconds) // 10, 6)))
