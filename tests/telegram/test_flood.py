"""Flood waits: never earlier than Telegram said, for every worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import FloodWait, Unavailable
from app.metrics import make_metrics
from app.redis_state import make_async_redis
from app.telegram.flood import FloodWaitManager, jitter_seconds

METHOD, SCOPE = "auth.exportLoginToken", "api:12345"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(wait=st.floats(min_value=1, max_value=100_000), pick=st.floats(min_value=0, max_value=1))
def test_jitter_is_added_and_bounded(wait: float, pick: float) -> None:
    """10 to 30 % of min(60, 2^min(N//10, 6)): never nothing, never negative, at most 18 s."""
    jitter = jitter_seconds(wait, uniform=lambda low, high: low + (high - low) * pick)
    base = min(60, 2 ** min(int(wait) // 10, 6))
    assert 0.1 * base <= jitter <= 0.3 * base + 1e-9


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    """A loop that is the same for all coroutines of a test."""
    with asyncio.Runner() as runner:
        yield runner


def test_a_gate_is_closed_for_every_worker(redis_url: str, loop: asyncio.Runner) -> None:
    """What one worker was told, another knows; other methods and scopes go on."""

    async def check() -> None:
        async with make_async_redis(redis_url) as one, make_async_redis(redis_url) as two:
            told = FloodWaitManager(redis=one, metrics=make_metrics())
            other = FloodWaitManager(redis=two, metrics=make_metrics())
            await other.check(method=METHOD, scope=SCOPE)
            await told.close(method=METHOD, scope=SCOPE, wait_seconds=17)
            with pytest.raises(FloodWait) as waits:
                await other.check(method=METHOD, scope=SCOPE)
            assert 16 < waits.value.wait_seconds <= 17
            await other.check(method="auth.sendCode", scope=SCOPE)
            await other.check(method=METHOD, scope="api:777")

    loop.run(check())


def test_a_shorter_wait_does_not_open_a_gate_earlier(redis_url: str, loop: asyncio.Runner) -> None:
    """The longer of two waits counts."""

    async def check() -> None:
        async with make_async_redis(redis_url) as one, make_async_redis(redis_url) as two:
            await FloodWaitManager(redis=one, metrics=make_metrics()).close(method=METHOD, scope=SCOPE, wait_seconds=30)
            await FloodWaitManager(redis=one, metrics=make_metrics()).close(method=METHOD, scope=SCOPE, wait_seconds=3)
            with pytest.raises(FloodWait) as waits:
                await FloodWaitManager(redis=two, metrics=make_metrics()).check(method=METHOD, scope=SCOPE)
            assert waits.value.wait_seconds > 29

    loop.run(check())


def test_who_was_told_remembers_when_redis_forgets(redis_url: str, loop: asyncio.Runner) -> None:
    """A flushed Redis does not make a worker call early; when the time is up, it may."""

    async def check() -> None:
        clock = Clock()
        async with make_async_redis(redis_url) as client:
            floods = FloodWaitManager(redis=client, metrics=make_metrics(), monotonic=clock)
            await floods.close(method=METHOD, scope=SCOPE, wait_seconds=17)
            await client.flushdb()
            clock.now += 16
            with pytest.raises(FloodWait):
                await floods.check(method=METHOD, scope=SCOPE)
            clock.now += 1
            await floods.check(method=METHOD, scope=SCOPE)

    loop.run(check())


def test_no_call_is_made_while_redis_cannot_be_asked(loop: asyncio.Runner) -> None:
    """The gate fails closed."""

    async def check() -> None:
        async with make_async_redis("redis://127.0.0.1:1/0") as nowhere:
            floods = FloodWaitManager(redis=nowhere, metrics=make_metrics())
            with pytest.raises(Unavailable):
                await floods.check(method=METHOD, scope=SCOPE)

    loop.run(check())
