"""Rate limits: sliding windows in Redis, all quotas of a call one atomic script, counted by the server's clock.

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

_KEY_PREFIX = "latchkey:limit"
_MICROSECONDS = 1_000_000
_HIT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local answer = {}
for number, key in ipairs(KEYS) do
    local amount, window = tonumber(ARGV[2 * number - 1]), tonumber(ARGV[2 * number])
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
    local allowed = used < amount
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
    if not allowed then
        break
    end
end
return answer
"""
"""Takes one from each quota (KEYS; ARGV: amount and microseconds of each) until one is used up.

Answers for each that it looked at: what is left (-1: it is used up), and in how many microseconds there is more.
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


class Limits:
    """Counts hits. Safe for threads and greenlets."""

    def __init__(self, client: redis.Redis) -> None:
        self._script = client.register_script(_HIT)

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
            answer = self._script(
                keys=[f"{_KEY_PREFIX}:{quota.name}:{quota.whose}" for quota in quotas],
                args=[number for quota in quotas for number in (quota.amount, quota.window_seconds * _MICROSECONDS)],
            )
        except RedisError as exc:
            raise Unavailable("Rate limits cannot be checked right now; try again.") from exc
        told = zip(quotas, answer[::2], answer[1::2], strict=False)  # after one that is used up nothing is told
        states = [QuotaState(quota, left, _whole_seconds(reset)) for quota, left, reset in told]
        if states[-1].remaining < 0:
            raise QuotaUsedUp(states[-1]._replace(remaining=0))
        return min(states, key=lambda state: state.remaining)


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
