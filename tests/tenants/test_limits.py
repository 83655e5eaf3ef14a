"""Rate limits on real Redis."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core import Core
from app.errors import RateLimited, Unavailable
from app.redis_state import make_redis
from app.tenants.limits import Limits, Quota


def allowed(limits: Limits, *quotas: Quota) -> bool:
    """Whether a hit is let through."""
    try:
        limits.hit(*quotas)
    except RateLimited:
        return False
    return True


def test_racing_hits_never_exceed_the_amount(core: Core) -> None:
    """Of 60 at once exactly 10 are let through."""
    limits, quota = Limits(core.redis), Quota("logins", "alice", 10)
    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(lambda _: allowed(limits, quota), range(60))) == 10


def test_everybody_has_a_quota_of_their_own(core: Core) -> None:
    """Using up one, for one, leaves the others."""
    limits = Limits(core.redis)
    assert allowed(limits, Quota("logins", "alice", 1))
    assert not allowed(limits, Quota("logins", "alice", 1))
    assert allowed(limits, Quota("logins", "bob", 1))
    assert allowed(limits, Quota("answers", "alice", 1))


def test_the_standing_counts_down(core: Core) -> None:
    """What remains, and no reset beyond the window."""
    limits, quota = Limits(core.redis), Quota("logins", "alice", 3)
    standings = [limits.hit(quota) for _ in range(3)]
    assert [standing.remaining for standing in standings] == [2, 1, 0]
    assert all(1 <= standing.reset_seconds <= 60 for standing in standings)


def test_the_narrowest_of_several_is_told(core: Core) -> None:
    """A key's quota and its tenant's: the one that has least left."""
    limits = Limits(core.redis)
    assert limits.hit(Quota("per-key", "k", 5), Quota("per-tenant", "t", 2)).quota.name == "per-tenant"


def test_a_later_quota_that_is_used_up_refuses(core: Core) -> None:
    """Every one of them has to let it through."""
    limits = Limits(core.redis)
    assert allowed(limits, Quota("per-key", "k1", 5), Quota("per-tenant", "t", 1))
    assert not allowed(limits, Quota("per-key", "k2", 5), Quota("per-tenant", "t", 1))


def test_retry_after_is_honest(core: Core) -> None:
    """Who waits as long as told is let through, and the window slides: not all comes back at once."""
    limits, quota = Limits(core.redis), Quota("logins", "alice", 4, window_seconds=2)
    for _ in range(4):
        limits.hit(quota)
    with pytest.raises(RateLimited) as refused:
        limits.hit(quota)
    assert 1 <= refused.value.retry_after_seconds <= 2
    time.sleep(refused.value.retry_after_seconds)  # what the rule is about
    assert allowed(limits, quota)
    assert sum(allowed(limits, quota) for _ in range(4)) < 4


def test_limits_fail_closed() -> None:
    """Without Redis nothing is let through: the caller is told to come back."""
    with pytest.raises(Unavailable):
        Limits(make_redis("redis://127.0.0.1:1/0")).hit(Quota("logins", "alice", 10))
