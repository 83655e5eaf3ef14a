"""Pools of connections to Redis: to one server, or to whichever of several the Sentinels call master. Knows no key.

A pool that goes by Sentinels asks them whenever it connects, and connects anew when the server says that it is no master any
more: whoever uses it sees a failover as a Redis that was away for some seconds.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.setting_values import Sentinels, split_sentinels

_ASK_SECONDS = 1.0


class _SentinelPool(redis.sentinel.SentinelConnectionPool, redis.BlockingConnectionPool):
    """Lets callers wait for a connection, as the pool of a single server does."""


class _AsyncSentinelPool(redis.asyncio.sentinel.SentinelConnectionPool, redis.asyncio.BlockingConnectionPool):
    """The same for the loop thread."""


def sentinels_of(redis_url: str) -> Sentinels | None:
    """The Sentinels that a URL names; None: it names a server."""
    return split_sentinels(redis_url) if urlsplit(redis_url).scheme == "sentinel" else None


def make_pool(redis_url: str, **options: Any) -> redis.BlockingConnectionPool:
    """A pool for threads and greenlets."""
    sentinels = sentinels_of(redis_url)
    if sentinels is None:
        return redis.BlockingConnectionPool.from_url(redis_url, **options)
    known = redis.sentinel.Sentinel(sentinels.addresses, sentinel_kwargs=asking())  # type: ignore[no-untyped-call]
    return _SentinelPool(sentinels.master, known, **_session(sentinels), **options)  # type: ignore[no-untyped-call]


def make_async_pool(redis_url: str, **options: Any) -> redis.asyncio.BlockingConnectionPool:
    """A pool for the loop thread."""
    sentinels = sentinels_of(redis_url)
    if sentinels is None:
        return redis.asyncio.BlockingConnectionPool.from_url(redis_url, **options)
    known = redis.asyncio.sentinel.Sentinel(
        list(sentinels.addresses), sentinel_kwargs={**asking(), "retry": AsyncRetry(NoBackoff(), 0)}
    )  # type: ignore[no-untyped-call]
    return _AsyncSentinelPool(sentinels.master, known, **_session(sentinels), **options)  # type: ignore[no-untyped-call]


def _session(sentinels: Sentinels) -> dict[str, Any]:
    return {"db": sentinels.database, "username": sentinels.username, "password": sentinels.password}


def asking() -> dict[str, Any]:
    """How a Sentinel is asked: one that stays silent or is gone is passed over for the next one at once."""
    return {
        "socket_timeout": _ASK_SECONDS,
        "socket_connect_timeout": _ASK_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
