"""Flood waits: the one place that knows when Telegram may be called again.

A FLOOD_WAIT of N s closes a gate (``app.telegram.gates``) in Redis until N s have passed, for every worker. Nobody ever calls
earlier than Telegram said; jitter is only added.

A gate is one person's. Only when several people meet waits of one method within a minute is it the whole api_id that
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
from app.gathering import RedisRounds
from app.logs import get_logger
from app.metrics import Metrics
from app.redis_state import flood_gate_key, flood_storm_keys
from app.telegram.gates import Gate

STORM_PEOPLE = 3
"""So many people with waits of one method make a storm. ``app.telegram.gates`` says who counts as one person; the waits of
logins and of visits to stored sessions count alike."""

STORM_SECONDS = 60.0
"""Within so many seconds."""

LONGEST_RETRY_SECONDS = 60.0
"""A longer wait is not worth holding a login for."""

LONGEST_COUNTDOWN_SECONDS = 60.0
"""The longest countdown to give to Celery's Redis transport; the gate holds whoever comes back too early."""

# KEYS: the api_id's gate, when each person met a wait, until when each person waits, then the gates of the scopes.
# ARGV: the wait in ms, the storm's seconds in ms, how many people make a storm, the person ('': counts as nobody), the scopes.
# Answers for how many ms the api_id's gate stays closed because of a storm (0: there is none), and whether it was open before.
_CLOSE_GATE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local wait, window, person = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[4]
for i = 4, #KEYS do
  if redis.call('PTTL', KEYS[i]) < wait then redis.call('SET', KEYS[i], '1', 'PX', wait) end
end
if person == '' then return {0, 0} end
for _, past in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - window)) do
  redis.call('ZREM', KEYS[2], past)
  redis.call('ZREM', KEYS[3], past)
end
for i = 5, #ARGV do
  if ARGV[i] ~= person then
    redis.call('ZREM', KEYS[2], ARGV[i])
    redis.call('ZREM', KEYS[3], ARGV[i])
  end
end
redis.call('ZADD', KEYS[2], now, person)
redis.call('ZADD', KEYS[3], math.max(now + wait, tonumber(redis.call('ZSCORE', KEYS[3], person) or '0')), person)
redis.call('PEXPIRE', KEYS[2], window)
redis.call('PEXPIRE', KEYS[3], window)
if redis.call('ZCARD', KEYS[2]) < tonumber(ARGV[3]) then return {0, 0} end
local longest = tonumber(redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]) - now
local closed = redis.call('PTTL', KEYS[1])
if closed < longest then redis.call('SET', KEYS[1], '1', 'PX', longest) end
return {math.max(closed, longest), closed > 0 and 0 or 1}
"""

_REMEMBERED_AT_MOST = 1000

_log = get_logger(__name__)


class FloodWaitManager:
    """Opens and closes the gates. Lives on the loop.

    Closed gates, the api_ids' among them, are also remembered in this process, so that a flushed Redis does not make it call
    early; of more than ``_REMEMBERED_AT_MOST``, those that open soonest are left to Redis alone. When Redis cannot be asked, no
    call is made (fails closed).

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
        self._rounds = RedisRounds(redis)
        self._metrics = metrics
        self._uniform = uniform
        self._monotonic = monotonic
        self._closed_until: dict[str, float] = {}
        self._close_script = redis.register_script(_CLOSE_GATE)

    async def check(self, gate: Gate, *, patience_seconds: float = 0.0) -> None:
        """Let a call pass, or not. Asks for its own gate and the api_id's in one round trip, and in a second one for how long.

        Args:
            patience_seconds: as in ``app.gathering.Gathering.ask``.

        Raises:
            FloodWait: one of them is closed for that long.
            Unavailable: Redis cannot be asked.
        """
        keys = [_api_key_of(gate), *_own_keys_of(gate)]
        try:
            closed = await self._rounds.do("EXISTS", *keys, patience_seconds=patience_seconds)
            left = await self._rounds.do_all(*(("PTTL", key) for key in keys)) if closed else [0] * len(keys)
        except (RedisError, OSError) as exc:
            raise Unavailable("Redis cannot be asked whether Telegram may be called.") from exc
        for key, milliseconds in zip(keys, left, strict=True):
            self._remember(key, milliseconds / 1000)
        wait_seconds = max(self._remembered(key) for key in keys)
        if wait_seconds > 0:
            raise FloodWait(method=gate.method, wait_seconds=wait_seconds)

    async def close(self, gate: Gate, *, wait_seconds: float) -> None:
        """Close the gate after Telegram answered FLOOD_WAIT; a gate that is closed for longer stays so.

        Raises:
            Unavailable: Redis cannot be told.
        """
        self._metrics.floodwait.labels(method=gate.method).inc()
        self._metrics.floodwait_seconds.observe(wait_seconds)
        own_keys, api_key = _own_keys_of(gate), _api_key_of(gate)
        for key in own_keys:
            self._remember(key, wait_seconds)
        limits = [math.ceil(wait_seconds * 1000), int(STORM_SECONDS * 1000), STORM_PEOPLE]
        try:
            milliseconds, was_open = await self._close_script(
                keys=[api_key, *flood_storm_keys(gate.method, gate.api_id), *own_keys],
                args=[*limits, gate.person or "", *gate.scopes],
            )
        except (RedisError, OSError) as exc:
            raise Unavailable("Redis cannot be told of a flood wait.") from exc
        self._remember(api_key, milliseconds / 1000)
        if was_open:
            self._metrics.floodwait_api_gate.labels(method=gate.method).inc()
            seconds = round(milliseconds / 1000, 1)
            _log.warning("flood.api_gate_closed", method=gate.method, api_id=gate.api_id, seconds=seconds)

    def countdown(self, wait_seconds: float) -> float:
        """How long to wait in all: what Telegram said plus jitter, so that not everybody comes back at once."""
        return wait_seconds + jitter_seconds(wait_seconds, uniform=self._uniform)

    def _remember(self, key: str, wait_seconds: float) -> None:
        if wait_seconds <= 0:
            return
        now = self._monotonic()
        self._closed_until[key] = max(self._closed_until.get(key, 0.0), now + wait_seconds)
        if len(self._closed_until) > _REMEMBERED_AT_MOST:
            self._closed_until = {each: until for each, until in self._closed_until.items() if until > now}
        if len(self._closed_until) > _REMEMBERED_AT_MOST:
            del self._closed_until[min(self._closed_until, key=self._closed_until.__getitem__)]

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


def _own_keys_of(gate: Gate) -> list[str]:
    return [flood_gate_key(gate.method, scope) for scope in gate.scopes]


def _api_key_of(gate: Gate) -> str:
    return flood_gate_key(gate.method, f"api:{gate.api_id}")
