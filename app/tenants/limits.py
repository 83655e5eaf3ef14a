"""Rate limits: sliding windows in Redis, counted by the server's clock; all quotas of a call, and of calls that come together,
in one atomic script. What a call wants to know of Redis besides is read on the same way.

A window begins with its first hit. What was counted in the window before it weighs as much as of that window is still in sight.

Those of logins, codes and opened sessions fail closed: while Redis is away nothing that they limit is let through, and the
caller is told to come back; off exactly then, they would be off when somebody wants them off. Those of reads fail open: what is
stored can be shown without Redis.
"""

from __future__ import annotations

from typing import NamedTuple

import redis
from redis.exceptions import RedisError

from app.errors import RateLimited, Unavailable
from app.together import Together

_KEY_PREFIX = "latchkey:limit"
_MICROSECONDS = 1_000_000
_HIT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local answer, refused, quotas, values = {}, {}, #ARGV / 3, {}
for number = 1, quotas do
    local key = KEYS[number]
    local call, amount, window = ARGV[3 * number - 2], tonumber(ARGV[3 * number - 1]), tonumber(ARGV[3 * number])
    local kept = redis.call('HMGET', key, 'began', 'count', 'before')
    local began, count, before = tonumber(kept[1]) or now, tonumber(kept[2]) or 0, tonumber(kept[3]) or 0
    local windows = math.floor((now - began) / window)
    if windows >= 2 then
        began, count, before = now, 0, 0
    elseif windows == 1 then
        began, count, before = began + window, 0, count
    end
    local left = began + window - now
    local used = math.floor(before * left / window) + count
    local allowed = used < amount and not refused[call]
    if allowed then
        used, count = used + 1, count + 1
        redis.call('HSET', key, 'began', string.format('%.0f', began), 'count', count, 'before', before)
        redis.call('PEXPIRE', key, math.ceil((left + window) / 1000))
    end
    local reset = left
    if before > 0 then
        reset = math.min(reset, left % (window / before))
    end
    table.insert(answer, allowed and amount - used or -1)
    table.insert(answer, math.ceil(reset))
    refused[call] = not allowed
end
if #KEYS > quotas then
    values = redis.call('MGET', unpack(KEYS, quotas + 1))
end
return {answer, values}
"""
"""Takes one from each quota, until one of its call is used up. KEYS: the quotas, then values to be read; ARGV: each one's call,
amount, microseconds.

Answers for each quota: what is left (-1: nothing was taken), and in how many microseconds there is more; then the values.
"""


class Quota(NamedTuple):
    """How much of something one caller may have.

    Args:
        name: what is limited, as the ``RateLimit-Policy`` header names it.
        whose: the id of the tenant, API key, login or address that it is counted for.
    """

    name: str
    whose: str
    amount: int
    window_seconds: int = 60


class QuotaState(NamedTuple):
    """Where a caller stands with a quota after a hit."""

    quota: Quota
    remaining: int
    reset_seconds: int


class Call(NamedTuple):
    """What a call counts against, the narrowest first, and the key of a value of Redis that it wants to know, if any."""

    quotas: tuple[Quota, ...]
    value_key: str | None = None


class Counted(NamedTuple):
    """What came of a call.

    Args:
        state: with the quota that has the least left; None: it is not known, because Redis is away.
        refused: set if one was used up: that one and those after it were not charged.
        value: what it wanted to know; None: there is none, or it is not known.
    """

    state: QuotaState | None
    refused: QuotaUsedUp | None = None
    value: bytes | None = None


class Limits:
    """Counts hits. Safe for threads and greenlets."""

    def __init__(self, client: redis.Redis) -> None:
        self._script = client.register_script(_HIT)
        self._hits = Together(self._hit_all)

    def hit_if_known(self, *quotas: Quota) -> QuotaState | None:
        """As ``hit``, but lets the call through while Redis is away (None).

        Raises:
            RateLimited: as ``hit``.
        """
        try:
            return self.hit(*quotas)
        except Unavailable:
            return None

    def hit(self, *quotas: Quota) -> QuotaState:
        """Take one from each quota, in the given order; the narrowest should come first.

        Returns:
            The state with the quota that has the least left.

        Raises:
            RateLimited: one is used up; that one and those after it are not charged.
            Unavailable: Redis is away.
        """
        try:
            counted = self._hits.ask(Call(quotas))
        except RedisError as exc:
            raise Unavailable("Rate limits cannot be checked right now; try again.") from exc
        if counted.refused is not None:
            raise counted.refused
        assert counted.state is not None
        return counted.state

    def hit_all_if_known(self, calls: list[Call]) -> list[Counted]:
        """Count many calls, as ``hit_if_known`` does, in one round trip."""
        try:
            return self._hit_all(calls)
        except RedisError:
            return [Counted(None)] * len(calls)

    def _hit_all(self, calls: list[Call]) -> list[Counted]:
        asked = [(number, quota) for number, call in enumerate(calls) for quota in call.quotas]
        read = [call.value_key for call in calls if call.value_key is not None]
        states, values = self._script(
            keys=[*(f"{_KEY_PREFIX}:{quota.name}:{quota.whose}" for _, quota in asked), *read],
            args=[
                argument
                for number, quota in asked
                for argument in (number, quota.amount, quota.window_seconds * _MICROSECONDS)
            ],
        )
        of_quotas, found = iter(states), iter(values)
        return [
            _counted(
                [QuotaState(quota, next(of_quotas), _whole_seconds(next(of_quotas))) for quota in call.quotas],
                None if call.value_key is None else next(found),
            )
            for call in calls
        ]


def _counted(states: list[QuotaState], value: bytes | None) -> Counted:
    narrowest = min(states, key=lambda state: state.remaining)
    if narrowest.remaining >= 0:
        return Counted(narrowest, value=value)
    used_up = next(state for state in states if state.remaining < 0)
    return Counted(None, refused=QuotaUsedUp(used_up._replace(remaining=0)))


def _whole_seconds(microseconds: int) -> int:
    return -(-microseconds // _MICROSECONDS) or 1


class QuotaUsedUp(RateLimited):
    """``RateLimited``, with the state that headers are made of."""

    def __init__(self, state: QuotaState) -> None:
        super().__init__(
            f"Too many calls: {state.quota.amount} are allowed in {state.quota.window_seconds} s.",
            retry_after_seconds=state.reset_seconds,
        )
        self.state = state
