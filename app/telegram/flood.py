"""Flood waits: the one place that knows when Telegram may be called again.

A FLOOD_WAIT of N s closes a gate (``app.telegram.gates``) in Redis until N s have passed, for every worker. Nobody ever calls
earlier than Telegram said; jitter is only added.

A gate is one person's. Only when several of them meet waits of one method within a minute is it the whole api_id that
Telegram slows down: then the api_id's gate for that method closes, too, for as long as the longest of those waits.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable

import redis.asyncio
from redis.exceptions import RedisError

from app.errors import FloodWait, Unavailable
from app.logs import get_logger
from app.metrics import Metrics
from app.redis_state import flood_gate_key, flood_storm_keys
from app.telegram.gates import Gate

STORM_SCOPES = 3
"""So many different scopes with waits of one method make a storm. Logins' and stored sessions' count alike."""

STORM_SECONDS = 60.0
"""Within so many seconds."""

LONGEST_RETRY_SECONDS = 60.0
"""A longer wait is not worth holding a login for."""

LONGEST_COUNTDOWN_SECONDS = 60.0
"""The longest countdown to give to Celery's Redis transport; the gate holds whoever comes back too early."""

# KEYS: the gate, the api_id's gate, when each scope met a wait, until when each scope's wait lasts.
# ARGV: the wait in ms, the scope, the storm's seconds in ms, how many scopes make a storm.
# Answers the ms for which this wait has closed the api_id's gate; 0: it did not.
_CLOSE_GATE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local wait, window = tonumber(ARGV[1]), tonumber(ARGV[3])
if redis.call('PTTL', KEYS[1]) < wait then redis.call('SET', KEYS[1], '1', 'PX', wait) end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - window)
redis.call('ZADD', KEYS[3], now, ARGV[2])
redis.call('PEXPIRE', KEYS[3], window)
local until_ms = math.max(now + wait, tonumber(redis.call('HGET', KEYS[4], ARGV[2]) or '0'))
redis.call('HSET', KEYS[4], ARGV[2], string.format('%.0f', until_ms))
redis.call('PEXPIRE', KEYS[4], window)
local scopes = redis.call('ZRANGE', KEYS[3], 0, -1)
if #scopes < tonumber(ARGV[4]) then return 0 end
local longest = 0
for _, each in ipairs(redis.call('HMGET', KEYS[4], unpack(scopes))) do
  longest = math.max(longest, tonumber(each or '0') - now)
end
local closed = redis.call('PTTL', KEYS[2])
if longest <= 0 or closed >= longest then return 0 end
redis.call('SET', KEYS[2], '1', 'PX', longest)
return longest
"""
_REMEMBERED_AT_MOST = 1000

_log = get_logger(__name__)


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

    async def check(self, gate: Gate) -> None:
        """Let a call pass, or not. Asks for its own gate and the api_id's in one round trip.

        Raises:
            FloodWait: one of them is closed for that long.
            Unavailable: Redis cannot be asked.
        """
        keys = _keys_of(gate)
        remembered = max(self._remembered(key) for key in keys)
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.pttl(key)
                left = await pipeline.execute()
        except (RedisError, OSError) as exc:
            raise Unavailable("Redis cannot be asked whether Telegram may be called.") from exc
        wait_seconds = max(remembered, *(each / 1000.0 for each in left))
        if wait_seconds > 0:
            raise FloodWait(method=gate.method, wait_seconds=wait_seconds)

    async def close(self, gate: Gate, *, wait_seconds: float) -> None:
        """Close the gate after Telegram answered FLOOD_WAIT; a gate that is closed for longer stays so.

        Raises:
            Unavailable: Redis cannot be told.
        """
        self._metrics.floodwait.labels(method=gate.method).inc()
        self._metrics.floodwait_seconds.observe(wait_seconds)
        own, whole = _keys_of(gate)
        self._remember(own, wait_seconds)
        milliseconds = math.ceil(wait_seconds * 1000)
        try:
            storm = await self._close_script(
                keys=[own, whole, *flood_storm_keys(gate.method, gate.api_id)],
                args=[milliseconds, gate.scope, int(STORM_SECONDS * 1000), STORM_SCOPES],
            )
        except (RedisError, OSError) as exc:
            raise Unavailable("Redis cannot be told of a flood wait.") from exc
        if storm:
            self._remember(whole, storm / 1000)
            self._metrics.floodwait_api_gate.labels(method=gate.method).inc()
            _log.warning(
                "flood.api_gate_closed", method=gate.method, api_id=gate.api_id, seconds=round(storm / 1000, 1)
            )

    def countdown(self, wait_seconds: float) -> float:
        """How long to wait in all: what Telegram said plus jitter, so that not everybody comes back at once."""
        return wait_seconds + jitter_seconds(wait_seconds, uniform=self._uniform)

    def _remember(self, key: str, wait_seconds: float) -> None:
        now = self._monotonic()
        if len(self._closed_until) >= _REMEMBERED_AT_MOST:
            self._closed_until = {each: until for each, until in self._closed_until.items() if until > now}
        self._closed_until[key] = max(self._closed_until.get(key, 0.0), now + wait_seconds)

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


def _keys_of(gate: Gate) -> tuple[str, str]:
    """The gate's own key, and that of its api_id."""
    return flood_gate_key(gate.method, gate.scope), flood_gate_key(gate.method, f"api:{gate.api_id}")
