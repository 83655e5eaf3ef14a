"""Flood waits: never earlier than Telegram said, for every worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from telethon.tl.functions.account import GetPasswordRequest
from telethon.tl.functions.auth import ExportLoginTokenRequest, SendCodeRequest, SignInRequest
from telethon.tl.types import CodeSettings

from app.errors import FloodWait, Unavailable
from app.metrics import make_metrics
from app.redis_state import make_async_redis
from app.settings import Settings
from app.telegram.flood import STORM_SCOPES, FloodWaitManager, jitter_seconds
from app.telegram.gates import Caller, Gate
from tests.builders import make_settings

METHOD, API_ID = "auth.exportLoginToken", 12345
GATE = Gate(METHOD, "api:12345:login:lgn_1", API_ID)


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
def settings(tmp_path: Path) -> Settings:
    """Settings of an installation; nothing is asked of its stores."""
    return make_settings(
        database_url="postgresql://nobody@127.0.0.1/none", redis_url="redis://127.0.0.1", key_file=tmp_path / "key"
    )


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
            await other.check(GATE)
            await told.close(GATE, wait_seconds=17)
            with pytest.raises(FloodWait) as waits:
                await other.check(GATE)
            assert 16 < waits.value.wait_seconds <= 17
            await other.check(GATE._replace(method="auth.sendCode"))
            await other.check(GATE._replace(scope="api:12345:login:lgn_2"))

    loop.run(check())


def test_a_shorter_wait_does_not_open_a_gate_earlier(redis_url: str, loop: asyncio.Runner) -> None:
    """The longer of two waits counts."""

    async def check() -> None:
        async with make_async_redis(redis_url) as one, make_async_redis(redis_url) as two:
            await FloodWaitManager(redis=one, metrics=make_metrics()).close(GATE, wait_seconds=30)
            await FloodWaitManager(redis=one, metrics=make_metrics()).close(GATE, wait_seconds=3)
            with pytest.raises(FloodWait) as waits:
                await FloodWaitManager(redis=two, metrics=make_metrics()).check(GATE)
            assert waits.value.wait_seconds > 29

    loop.run(check())


def test_who_was_told_remembers_when_redis_forgets(redis_url: str, loop: asyncio.Runner) -> None:
    """A flushed Redis does not make a worker call early; when the time is up, it may."""

    async def check() -> None:
        clock = Clock()
        async with make_async_redis(redis_url) as client:
            floods = FloodWaitManager(redis=client, metrics=make_metrics(), monotonic=clock)
            await floods.close(GATE, wait_seconds=17)
            await client.flushdb()
            clock.now += 16
            with pytest.raises(FloodWait):
                await floods.check(GATE)
            clock.now += 1
            await floods.check(GATE)

    loop.run(check())


def test_no_call_is_made_while_redis_cannot_be_asked(loop: asyncio.Runner) -> None:
    """The gate fails closed."""

    async def check() -> None:
        async with make_async_redis("redis://127.0.0.1:1/0") as nowhere:
            floods = FloodWaitManager(redis=nowhere, metrics=make_metrics())
            with pytest.raises(Unavailable):
                await floods.check(GATE)

    loop.run(check())


def scopes(count: int, *, api_id: int = API_ID) -> list[Gate]:
    """Gates of different people at one api_id."""
    return [Gate("auth.checkPassword", f"user:{number}", api_id) for number in range(count)]


def test_waits_of_several_people_close_the_gate_of_the_whole_api(redis_url: str, loop: asyncio.Runner) -> None:
    """For as long as the longest of them, for every worker, counted; other methods and other api_ids go on."""

    async def check() -> None:
        registry = CollectorRegistry()
        async with make_async_redis(redis_url) as one, make_async_redis(redis_url) as two:
            told = FloodWaitManager(redis=one, metrics=make_metrics(registry))
            other = FloodWaitManager(redis=two, metrics=make_metrics())
            stranger = Gate("auth.checkPassword", "user:99", API_ID)
            for gate, seconds in zip(scopes(STORM_SCOPES), (40, 5, 6), strict=True):
                await other.check(stranger)
                await told.close(gate, wait_seconds=seconds)
            for floods in (told, other):
                with pytest.raises(FloodWait) as waits:
                    await floods.check(stranger)
                assert 39 < waits.value.wait_seconds <= 40
            await other.check(stranger._replace(method="auth.signIn"))
            await other.check(stranger._replace(api_id=777))
        labels = {"method": "auth.checkPassword"}
        assert registry.get_sample_value("telethon_floodwait_api_gate_total", labels) == 1

    loop.run(check())


def test_one_person_is_no_storm(redis_url: str, loop: asyncio.Runner) -> None:
    """However often the same account meets a wait."""

    async def check() -> None:
        async with make_async_redis(redis_url) as client:
            floods = FloodWaitManager(redis=client, metrics=make_metrics())
            for _ in range(3 * STORM_SCOPES):
                await floods.close(scopes(1)[0], wait_seconds=30)
            await floods.check(Gate("auth.checkPassword", "user:99", API_ID))

    loop.run(check())


def test_a_storm_is_over_with_its_longest_wait(redis_url: str, loop: asyncio.Runner) -> None:
    """The api's gate opens by itself."""

    async def check() -> None:
        async with make_async_redis(redis_url) as one, make_async_redis(redis_url) as two:
            told = FloodWaitManager(redis=one, metrics=make_metrics())
            for gate in scopes(STORM_SCOPES):
                await told.close(gate, wait_seconds=1)
            other = FloodWaitManager(redis=two, metrics=make_metrics())
            stranger = Gate("auth.checkPassword", "user:99", API_ID)
            with pytest.raises(FloodWait) as waits:
                await other.check(stranger)
            await asyncio.sleep(waits.value.wait_seconds + 0.05)  # Redis's own clock opens it
            await other.check(stranger)

    loop.run(check())


def test_gates_are_as_narrow_as_telegrams_limits(settings: Settings) -> None:
    """By login for tokens, by phone number for codes, by account (or auth key) for the rest; nothing is in the open."""
    key, other_key = bytes(256), bytes(range(256))
    alice, bob = (Caller(settings, api_id=API_ID, login_id=each) for each in ("lgn_a", "lgn_b"))
    alice.use_auth_key(key)
    bob.use_auth_key(other_key)
    export = ExportLoginTokenRequest(API_ID, "hash", [])
    assert alice.gate_of(export).scope != bob.gate_of(export).scope
    send = [SendCodeRequest(number, API_ID, "hash", CodeSettings()) for number in ("+4915112345678", "4915112345678")]
    sign_in = SignInRequest("+49 151 1234 5678", "hash", "12345")
    phones = {who.gate_of(request).scope for who in (alice, bob) for request in (*send, sign_in)}
    assert len(phones) == 1
    assert "15112345678" not in next(iter(phones))
    ask = GetPasswordRequest()
    before = alice.gate_of(ask)
    assert before.scope != bob.gate_of(ask).scope
    assert key.hex()[:32] not in before.scope
    alice.telegram_user_id = 17
    assert alice.gate_of(ask).scope == "user:17"
    assert alice.gate_of(export).method == "auth.exportLoginToken"
