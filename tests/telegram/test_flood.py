"""Flood waits: never earlier than Telegram said, for every worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from telethon.tl import TLRequest
from telethon.tl.functions.account import GetPasswordRequest
from telethon.tl.functions.auth import (
    ExportLoginTokenRequest,
    LogOutRequest,
    ResendCodeRequest,
    SendCodeRequest,
    SignInRequest,
)
from telethon.tl.types import (
    CodeSettings,
    PasswordKdfAlgoSHA256SHA256PBKDF2HMACSHA512iter100000SHA256ModPow,
    SecurePasswordKdfAlgoUnknown,
)
from telethon.tl.types.account import Password

from app.core import Core
from app.errors import FloodWait, Unavailable
from app.metrics import make_metrics
from app.redis_state import flood_storm_keys, make_async_redis
from app.settings import DataCentre, Settings
from app.telegram.calls import PacedCaller
from app.telegram.connection import TelegramConnection
from app.telegram.flood import STORM_PEOPLE, FloodWaitManager, jitter_seconds
from app.telegram.gates import Caller, Gate
from app.telegram.identity import identity_for
from tests.builders import make_settings

METHOD, API_ID = "auth.exportLoginToken", 12345


def gate_of(scope: str, *more: str, method: str = METHOD, api_id: int = API_ID) -> Gate:
    """The gate of somebody with these names, the best one last."""
    return Gate(method, api_id, scopes=(scope, *more), person=(scope, *more)[-1])


GATE = gate_of("api:12345:login:lgn_1")


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
            await other.check(gate_of("api:12345:login:lgn_2"))

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


PASSWORD = "auth.checkPassword"


def people(count: int) -> list[Gate]:
    """The gates of different people at one api_id."""
    return [gate_of(f"key:{number}", f"user:{number}", method=PASSWORD) for number in range(count)]


STRANGER = gate_of("key:99", "user:99", method=PASSWORD)


def closed(registry: CollectorRegistry) -> float | None:
    """How often the api's gate for passwords was closed, as it is counted."""
    return registry.get_sample_value("telethon_floodwait_api_gate_total", {"method": PASSWORD})


def test_waits_of_several_people_close_the_gate_of_the_whole_api(redis_url: str, loop: asyncio.Runner) -> None:
    """For as long as the longest of them, for every worker, counted; other methods and other api_ids go on."""

    async def check() -> None:
        registry = CollectorRegistry()
        async with make_async_redis(redis_url) as one, make_async_redis(redis_url) as two:
            told = FloodWaitManager(redis=one, metrics=make_metrics(registry))
            other = FloodWaitManager(redis=two, metrics=make_metrics())
            for gate, seconds in zip(people(STORM_PEOPLE), (40, 5, 6), strict=True):
                await other.check(STRANGER)
                await told.close(gate, wait_seconds=seconds)
            for floods in (told, other):
                with pytest.raises(FloodWait) as waits:
                    await floods.check(STRANGER)
                assert 39 < waits.value.wait_seconds <= 40
            await other.check(STRANGER._replace(method="auth.signIn"))
            await other.check(STRANGER._replace(api_id=777))
        assert closed(registry) == 1

    loop.run(check())


def test_a_storm_that_goes_on_is_said_once(redis_url: str, loop: asyncio.Runner) -> None:
    """Calls that were on their way make the gate stay closed for longer; that is no second storm."""

    async def check() -> None:
        registry = CollectorRegistry()
        async with make_async_redis(redis_url) as client:
            floods = FloodWaitManager(redis=client, metrics=make_metrics(registry))
            with capture_logs() as logs:
                for number, gate in enumerate(people(50)):
                    await floods.close(gate, wait_seconds=20 + number)
            said = [each for each in logs if each["event"] == "flood.api_gate_closed"]
            assert [(each["method"], each["api_id"], each["seconds"]) for each in said] == [(PASSWORD, API_ID, 22.0)]
            assert closed(registry) == 1
            with pytest.raises(FloodWait) as waits:
                await floods.check(STRANGER)
            assert 68 < waits.value.wait_seconds <= 69

    loop.run(check())


def test_a_storm_of_any_size_can_be_told(redis_url: str, loop: asyncio.Runner) -> None:
    """Ten thousand people within a minute; their waits are kept for that minute and no longer than it."""

    async def check() -> None:
        async with make_async_redis(redis_url) as client:
            floods = FloodWaitManager(redis=client, metrics=make_metrics())
            met, until = flood_storm_keys(PASSWORD, API_ID)
            now = time.time() * 1000
            crowd = {f"crowd:{number}": now for number in range(10_000)}
            await client.zadd(met, crowd)
            await client.zadd(until, crowd)
            await floods.close(STRANGER, wait_seconds=20)
            assert await client.zcard(met) == 10_001
            await client.zadd(met, dict.fromkeys(crowd, now - 61_000))
            await floods.close(STRANGER, wait_seconds=20)
            for key in (met, until):
                assert await client.zrange(key, 0, -1) == [b"user:99"]
                assert 0 < await client.pttl(key) <= 60_000

    loop.run(check())


def test_waits_that_are_a_minute_apart_are_no_storm(redis_url: str, loop: asyncio.Runner) -> None:
    """Two people long ago and one now are three people with trouble of their own."""

    async def check() -> None:
        async with make_async_redis(redis_url) as client:
            floods = FloodWaitManager(redis=client, metrics=make_metrics())
            for gate in people(STORM_PEOPLE - 1):
                await floods.close(gate, wait_seconds=900)
            met, _ = flood_storm_keys(PASSWORD, API_ID)
            for gate in people(STORM_PEOPLE - 1):
                await client.zadd(met, {gate.scopes[-1]: time.time() * 1000 - 60_001}, xx=True)
            await floods.close(people(STORM_PEOPLE)[-1], wait_seconds=900)
            await floods.check(STRANGER)

    loop.run(check())


def test_one_person_is_no_storm(redis_url: str, loop: asyncio.Runner) -> None:
    """However often the same account meets a wait, on however many keys, before and after it is known by its best name."""

    async def check() -> None:
        async with make_async_redis(redis_url) as client:
            floods = FloodWaitManager(redis=client, metrics=make_metrics())
            for number in range(2 * STORM_PEOPLE):
                key = f"key:{number}"
                await floods.close(Gate(PASSWORD, API_ID, scopes=(key,), person=None), wait_seconds=30)
                await floods.close(gate_of(key, "password:1", method=PASSWORD), wait_seconds=30)
                await floods.close(gate_of(key, "password:1", "user:1", method=PASSWORD), wait_seconds=30)
            await floods.close(gate_of("user:2", method=PASSWORD), wait_seconds=30)
            await floods.check(STRANGER)

    loop.run(check())


def test_a_storm_is_over_with_its_longest_wait(redis_url: str, loop: asyncio.Runner) -> None:
    """The api's gate opens by itself, and the next storm is one of its own."""

    async def check() -> None:
        registry = CollectorRegistry()
        async with make_async_redis(redis_url) as one, make_async_redis(redis_url) as two:
            told = FloodWaitManager(redis=one, metrics=make_metrics(registry))
            for gate in people(STORM_PEOPLE):
                await told.close(gate, wait_seconds=1)
            other = FloodWaitManager(redis=two, metrics=make_metrics())
            with pytest.raises(FloodWait) as waits:
                await other.check(STRANGER)
            await asyncio.sleep(waits.value.wait_seconds + 0.05)  # Redis's own clock opens it
            await other.check(STRANGER)
            await told.check(STRANGER)
            await told.close(STRANGER, wait_seconds=1)
        assert closed(registry) == 2

    loop.run(check())


def test_the_apis_gate_is_remembered_when_redis_forgets(redis_url: str, loop: asyncio.Runner) -> None:
    """By who closed it, and by who was only stopped at it."""

    async def check() -> None:
        clock = Clock()
        async with make_async_redis(redis_url) as client:
            told, stopped = (FloodWaitManager(redis=client, metrics=make_metrics(), monotonic=clock) for _ in range(2))
            for gate in people(STORM_PEOPLE):
                await told.close(gate, wait_seconds=30)
            with pytest.raises(FloodWait):
                await stopped.check(STRANGER)
            await client.flushdb()
            clock.now += 29
            for floods in (told, stopped):
                with pytest.raises(FloodWait):
                    await floods.check(STRANGER)
            clock.now += 2
            for floods in (told, stopped):
                await floods.check(STRANGER)

    loop.run(check())


def test_only_so_many_gates_are_remembered(redis_url: str, loop: asyncio.Runner) -> None:
    """Those that nobody asks about again are forgotten when they are open; of too many closed ones, the soonest to open."""

    async def check() -> None:
        clock = Clock()
        async with make_async_redis(redis_url) as client:
            floods = FloodWaitManager(redis=client, metrics=make_metrics(), monotonic=clock)
            crowd = [Gate(METHOD, API_ID, scopes=(f"key:{number}",), person=None) for number in range(1200)]
            for number, gate in enumerate(crowd):
                await floods.close(gate, wait_seconds=60 + number)
            assert len(floods._closed_until) == 1000
            await client.flushdb()
            await floods.check(crowd[199])
            with pytest.raises(FloodWait):
                await floods.check(crowd[200])
            clock.now += 10_000
            await floods.close(GATE, wait_seconds=60)
            assert len(floods._closed_until) == 1

    loop.run(check())


def test_a_gate_that_closes_during_the_pause_stops_the_call(redis_url: str, loop: asyncio.Runner, core: Core) -> None:
    """The pause between two calls is half a second: time enough for another worker to be told to wait."""

    async def check() -> None:
        paused = asyncio.Event()

        def longest(_: float, high: float) -> float:
            paused.set()
            return high

        async with make_async_redis(redis_url) as client:
            floods = FloodWaitManager(redis=client, metrics=core.metrics)
            who = Caller(core.settings, api_id=API_ID, auth_key=bytes(256))
            caller = PacedCaller(floods=floods, metrics=core.metrics, caller=who, fresh=False, uniform=longest)
            nowhere = TelegramConnection(
                identity=identity_for(core.settings, {}),
                data_centre=DataCentre(2, "127.0.0.1", 1),
                auth_key=bytes(256),
                handshakes=asyncio.Semaphore(1),
            )
            request = GetPasswordRequest()
            async with asyncio.TaskGroup() as group:
                call = group.create_task(stopped(caller, nowhere, request))
                await paused.wait()
                await floods.close(who.gate_of(request), wait_seconds=30)
            assert 29 < call.result().wait_seconds <= 30

    loop.run(check())


async def stopped(caller: PacedCaller, connection: TelegramConnection, request: TLRequest) -> FloodWait:
    """Call, and return the flood wait that stops it. A call that goes out on this connection would be lost instead."""
    with pytest.raises(FloodWait) as waits:
        await caller.call(connection, request)
    return waits.value


def test_tokens_are_counted_by_login(settings: Settings) -> None:
    """Two logins of one application have nothing to do with each other; a new key of one has."""
    export = ExportLoginTokenRequest(API_ID, "hash", [])
    alice, bob = (Caller(settings, api_id=API_ID, login_id=each) for each in ("lgn_a", "lgn_b"))
    before = alice.gate_of(export)
    assert before.person in before.scopes
    assert before != bob.gate_of(export)
    alice.use_auth_key(bytes(256))
    assert alice.gate_of(export) == before
    assert Caller(settings, api_id=777, login_id="lgn_a").gate_of(export) != before


def test_codes_are_counted_by_phone_number(settings: Settings) -> None:
    """Whoever asks, at whatever api_id, however the number is written; it is not to be read in Redis."""
    callers = [Caller(settings, api_id=each, login_id=f"lgn_{each}") for each in (API_ID, 777)]
    numbers = ("+4915112345678", "4915112345678", "+49 151 1234-5678")
    send = [SendCodeRequest(number, API_ID, "hash", CodeSettings()) for number in numbers]
    others = [SignInRequest(numbers[0], "hash", "12345"), ResendCodeRequest(numbers[1], "hash")]
    gates = [who.gate_of(request) for who in callers for request in (*send, *others)]
    assert len({gate.scopes for gate in gates}) == 1
    assert gates[0].scopes == (gates[0].person,)
    assert "15112345678" not in gates[0].scopes[0]
    assert callers[0].gate_of(SignInRequest("+4915112345679", "hash", "12345")).scopes != gates[0].scopes


def test_the_rest_is_counted_by_account_and_key(settings: Settings) -> None:
    """By each name that is known: key, password salts, id. The best one counts toward a storm, a key never."""
    ask = GetPasswordRequest()
    who = Caller(settings, api_id=API_ID, login_id="lgn_a", auth_key=b"a" * 256)
    (key,) = who.gate_of(ask).scopes
    assert who.gate_of(ask).person is None
    assert (b"a" * 256).hex()[:32] not in key
    who.learn_from(password_of(b"salt of carol's"))
    assert who.gate_of(ask).scopes == (key, who.gate_of(ask).person)
    other = Caller(settings, api_id=API_ID, login_id="lgn_b", auth_key=b"b" * 256)
    other.learn_from(password_of(b"salt of carol's"))
    assert other.gate_of(ask).person == who.gate_of(ask).person
    assert other.gate_of(ask).scopes[0] != key
    other.learn_from(password_of(b"salt of dave's"))
    assert other.gate_of(ask).person != who.gate_of(ask).person
    who.telegram_user_id = 17
    assert (who.gate_of(LogOutRequest()).scopes[0], who.gate_of(LogOutRequest()).person) == (key, "user:17")
    assert len(who.gate_of(ask).scopes) == 3


def test_another_auth_key_is_nobodys_yet(settings: Settings) -> None:
    """After a move to another data centre what was known is forgotten; after a reconnect under the same key it is not."""
    who = Caller(settings, api_id=API_ID, auth_key=b"a" * 256, telegram_user_id=17)
    who.learn_from(password_of(b"salt of carol's"))
    who.use_auth_key(b"a" * 256)
    assert len(who.gate_of(GetPasswordRequest()).scopes) == 3
    who.use_auth_key(b"b" * 256)
    assert len(who.gate_of(GetPasswordRequest()).scopes) == 1
    assert who.telegram_user_id is None


def password_of(salt: bytes) -> Password:
    """What Telegram answers about an account's password."""
    algorithm = PasswordKdfAlgoSHA256SHA256PBKDF2HMACSHA512iter100000SHA256ModPow(salt, b"salt2", 3, bytes(256))
    return Password(algorithm, SecurePasswordKdfAlgoUnknown(), b"", has_password=True, current_algo=algorithm)
