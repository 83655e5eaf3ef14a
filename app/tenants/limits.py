"""Rate limits: sliding windows in Redis, each hit one atomic script, counted by the server's clock.

Those of logins, codes and opened sessions fail closed: while Redis is away nothing that they limit is let through, and the
caller is told to come back; off exactly then, they would be off when somebody wants them off. Those of reads fail open: what is
stored can be shown without Redis.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import redis
from limits import RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis.exceptions import RedisError

from app.errors import RateLimited, Unavailable


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
        storage = RedisStorage("redis://", connection_pool=client.connection_pool, key_prefix="latchkey:limit")
        self._limiter = SlidingWindowCounterRateLimiter(storage)

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
            return min((self._hit(quota) for quota in quotas), key=lambda state: state.remaining)
        except RedisError as exc:
            raise Unavailable("Rate limits cannot be checked right now; try again.") from exc

    def _hit(self, quota: Quota) -> QuotaState:
        item = RateLimitItemPerSecond(quota.amount, quota.window_seconds)
        allowed = self._limiter.hit(item, quota.name, quota.whose)
        stats = self._limiter.get_window_stats(item, quota.name, quota.whose)
        # In a window's first instant the library calls its end "now".
        reset_seconds = math.ceil(stats.reset_time - time.time()) or quota.window_seconds
        if not allowed:
            raise QuotaUsedUp(QuotaState(quota=quota, remaining=0, reset_seconds=reset_seconds))
        return QuotaState(quota=quota, remaining=stats.remaining, reset_seconds=reset_seconds)


class QuotaUsedUp(RateLimited):
    """``RateLimited``, with the state that headers are made of."""

    def __init__(self, state: QuotaState) -> None:
        super().__init__(
            f"Too many calls: {state.quota.amount} are allowed in {state.quota.window_seconds} s.",
            retry_after_seconds=state.reset_seconds,
        )
        self.state = state
