"""The faults that strike: what each does, what it hurts, and how one is drawn from the seed.

A strike is a coroutine that begins the fault, holds it, and ends it whatever happens. To add one, write it here and give it a
weight in ``_KINDS``; ``hurts`` must name everything that it can make fail, for that is all that a verdict will excuse.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from random import Random

from chaos.field import LOGIN_WORKERS, Field, send_signal
from chaos.weather import Strike
from chaos.wire import Trap, What, When

_TRAP_SECONDS = 12.0  # then a trap that nothing sprang is taken away
_FAULT_SECONDS = 15.0
_STOP_SECONDS = 70.0  # a login worker may take a minute to leave
_LOOK_SECONDS = 0.3
_HURTS_OF_PART = {
    **dict.fromkeys(LOGIN_WORKERS, "worker"),
    "worker-background-1": "background",
    "beat": "beat",
    "web": "web",
    "redis": "redis",
    "postgres": "postgres",
    "s3": "s3",
}
_MOMENTS = {
    "postgres": (
        r"^COMMIT of .*INSERT sessions",
        r"^COMMIT of .*INSERT leaving_auth_keys",
        r"^COMMIT of UPDATE logins",
        r"^COMMIT of INSERT logins",
        r"^COMMIT of UPDATE sessions",
        r"^UPDATE logins SET .*auth_key_sealed",
        r"^UPDATE sessions",
        r"^DELETE FROM leaving_auth_keys",
    ),
    "redis": (
        r"^PUBLISH latchkey:login-changed",
        r"^PUBLISH latchkey:login-inbox",
        r"^LPUSH logins",
        r"^LPUSH background",
        r"^SET \S+:qr",
        r"^SET \S+:lock",
        r"^GETDEL \S+:inbox",
        r"^EVALSHA \S+ 1 latchkey:login:\S+:lock",
    ),
}
_FLOODED = (
    "auth.exportLoginToken",
    "auth.importLoginToken",
    "auth.sendCode",
    "auth.signIn",
    "account.getPassword",
    "auth.checkPassword",
    "users.getUsers",
    "auth.logOut",
)
_TROUBLED = (*_FLOODED, "*")
_OF_THE_CALL: tuple[dict[str, object], ...] = (
    {"error": "INTERNAL"},
    {"error": "RPC_CALL_FAIL"},
    {"drop_connection": True},
    {"silent": True},
    {"delay_ms": 3000},
)

Act = Callable[[Field, Strike], Awaitable[None]]


@dataclass(frozen=True)
class Plan:
    """A strike to be. ``act`` gets the strike as the weather keeps it, and may add to what it hurts."""

    name: str
    hurts: frozenset[str]
    act: Act


# --- processes


def _kill(random: Random) -> Plan:
    part = random.choice(list(_HURTS_OF_PART))
    how = random.choice((signal.SIGKILL, signal.SIGTERM))
    if part == "postgres":  # a crash and a fast shutdown; SIGTERM would wait for clients to leave
        how = random.choice((signal.SIGQUIT, signal.SIGINT))

    async def act(field: Field, _: Strike) -> None:
        pid = field.pid(part)
        send_signal([pid], how)
        await _until(lambda: field.pid(part) != pid, within_seconds=_STOP_SECONDS)

    return Plan(f"{how.name} to {part}", frozenset({_HURTS_OF_PART[part]}), act)


def _pause(random: Random) -> Plan:
    part, seconds = random.choice(list(_HURTS_OF_PART)), round(random.uniform(1.0, 25.0), 1)

    async def act(field: Field, _: Strike) -> None:
        pids = field.signal_tree(part, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            send_signal(pids, signal.SIGCONT)

    return Plan(f"{part} is stopped for {seconds} s", frozenset({_HURTS_OF_PART[part]}), act)


# --- stores


def _flush_redis(_: Random) -> Plan:
    async def act(field: Field, _: Strike) -> None:
        with contextlib.suppress(Exception):  # it may be away already
            await field.ask(field.redis.flushall)

    return Plan("Redis is flushed", frozenset({"redis"}), act)


def _end_backends(_: Random) -> Plan:
    async def act(field: Field, _: Strike) -> None:
        with contextlib.suppress(Exception):  # it may be away already
            await field.ask(
                field.execute,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )

    return Plan("PostgreSQL ends all its backends", frozenset({"postgres"}), act)


# --- Telegram


def _network(random: Random) -> Plan:
    mode, seconds = random.choice(("silent", "refuse", "accept_and_close")), round(random.uniform(1.0, 20.0), 1)
    cuts = mode != "silent"

    async def act(field: Field, _: Strike) -> None:
        await field.ask(field.telegram.network, mode, **({"cut_all": True} if cuts else {}))
        try:
            await asyncio.sleep(seconds)
        finally:
            await field.ask(field.telegram.network, "ok")

    return Plan(f"Telegram's network: {mode} for {seconds} s", frozenset({"telegram"}), act)


def _latency(random: Random) -> Plan:
    milliseconds, seconds = random.choice((300, 1500, 4000)), round(random.uniform(3.0, 15.0), 1)

    async def act(field: Field, _: Strike) -> None:
        await field.ask(field.telegram.network, latency_ms=milliseconds)
        try:
            await asyncio.sleep(seconds)
        finally:
            await field.ask(field.telegram.network, latency_ms=0)

    return Plan(f"Telegram answers {milliseconds} ms later for {seconds} s", frozenset({"telegram"}), act)


def _cut(_: Random) -> Plan:
    async def act(field: Field, _: Strike) -> None:
        await field.ask(field.telegram.network, cut_all=True)

    return Plan("Telegram cuts all connections", frozenset({"telegram"}), act)


def _flood(random: Random) -> Plan:
    method, seconds, times = random.choice(_FLOODED), random.choice((2, 5, 17)), random.randint(1, 3)
    return _fault(method, {"error": f"FLOOD_WAIT_{seconds}", "times": times}, "flood")


def _false_death(random: Random) -> Plan:
    """Once: a second time, to the same key seconds later, would be no moment any more."""
    method = random.choice(("users.getUsers", "auth.exportLoginToken", "auth.checkPassword", "account.getPassword"))
    return _fault(method, {"error": "AUTH_KEY_UNREGISTERED", "times": 1}, "false_death")


def _lost_update(random: Random) -> Plan:
    return _fault("updateLoginToken", {"lose_update": True, "times": random.randint(1, 3)}, "telegram")


def _trouble(random: Random) -> Plan:
    effect = random.choice(_OF_THE_CALL)
    return _fault(random.choice(_TROUBLED), {**effect, "times": random.randint(1, 5)}, "telegram")


def _fault(method: str, effects: dict[str, object], hurts: str) -> Plan:
    async def act(field: Field, _: Strike) -> None:
        await field.ask(field.telegram.add_fault, method, **effects)
        if not await _until(lambda: not field.telegram.faults(), within_seconds=_FAULT_SECONDS):
            await field.ask(field.telegram.clear_faults)

    told = ", ".join(f"{name} {value}" for name, value in effects.items())
    return Plan(f"Telegram on {method}: {told}", frozenset({hurts}), act)


# --- between two messages


def _trap(random: Random) -> Plan:
    store = random.choice(list(_MOMENTS))
    pattern, when, what = (
        random.choice(_MOMENTS[store]),
        _choose_when(random),
        random.choices(_WHATS, weights=(3, 1, 3, 2))[0],
    )
    seconds = round(random.uniform(1.0, 25.0), 1) if what in ("stall", "stop") else 0.0

    async def act(field: Field, strike: Strike) -> None:
        async with _owner(field, strike, seconds) as strike_owner:
            trap = Trap(
                pattern=re.compile(pattern, re.DOTALL),
                when=when,
                what=what,
                seconds=seconds,
                strike_owner=strike_owner,
            )
            with field.wires[store].trap(trap):
                try:
                    words = await asyncio.wait_for(trap.sprung, _TRAP_SECONDS)
                except TimeoutError:
                    field.story.tell(f"nothing sprang the trap at {pattern}")
                    return
            field.story.tell(f"SPRUNG at {words}")
            await asyncio.sleep(seconds)

    told = f"{what}{f' for {seconds} s' if seconds else ''}"
    return Plan(f"trap in {store}: {told} {when} {pattern}", frozenset({store}), act)


_WHATS: tuple[What, ...] = ("cut", "stall", "kill", "stop")


def _choose_when(random: Random) -> When:
    return "before" if random.random() < 0.5 else "after"


@contextlib.asynccontextmanager
async def _owner(field: Field, strike: Strike, seconds: float) -> AsyncIterator[Callable[[What, int], Awaitable[None]]]:
    """How a trap kills or stops the process behind a connection; a stopped one goes on when the block ends."""
    stopped: list[int] = []

    async def strike_owner(what: What, port: int) -> None:
        found = await field.ask(field.owner_of, port)
        if found is None:
            return
        pid, part = found
        strike.hurts.add(_HURTS_OF_PART[part])
        field.story.tell(f"the trap {what}s {part} ({pid})")
        if what == "stop":
            stopped.append(pid)
        send_signal([pid], signal.SIGKILL if what == "kill" else signal.SIGSTOP)

    try:
        yield strike_owner
    finally:
        send_signal(stopped, signal.SIGCONT)


async def _until(look: Callable[[], bool], *, within_seconds: float) -> bool:
    """Wait until something is seen; False: it was not in time."""
    give_up_at = time.monotonic() + within_seconds
    while not await asyncio.to_thread(look):
        if time.monotonic() > give_up_at:
            return False
        await asyncio.sleep(_LOOK_SECONDS)
    return True


# --- from the seed

_KINDS: tuple[tuple[int, Callable[[Random], Plan]], ...] = (
    (4, _kill),
    (4, _pause),
    (1, _flush_redis),
    (1, _end_backends),
    (2, _network),
    (1, _latency),
    (1, _cut),
    (2, _flood),
    (2, _false_death),
    (1, _lost_update),
    (2, _trouble),
    (8, _trap),
)
_TWO_AT_ONCE = 0.35


def draw_strikes(random: Random, *, seconds: float, every_seconds: float) -> Iterator[tuple[float, Plan]]:
    """Draw what strikes when, in seconds since the beginning; sometimes two at once."""
    at = 0.0
    while (at := at + random.uniform(0.5, 1.5) * every_seconds) < seconds:
        for _ in range(2 if random.random() < _TWO_AT_ONCE else 1):
            kind = random.choices([kind for _, kind in _KINDS], [weight for weight, _ in _KINDS])[0]
            yield at, kind(random)
