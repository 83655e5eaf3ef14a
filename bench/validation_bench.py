"""Validation: one background worker asks after every session, beside a bare loop of `connect(); get_me()`. And planning it.

400 accounts log in, then a stock worker validates all of them, round after round, with everything that it does besides: the
plan, leases, audit, pacing, verdicts. Its CPU is the worker's, PostgreSQL's and Redis's together; the loop is one Telethon
script with the same string sessions, as many at once, no database and no pause. Planning is measured on a table of a million
sessions unless `PLANNING_BENCH_SESSIONS` says otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import psutil
from sqlalchemy import func, select, text, update

from app.models import TelegramSession
from app.sessions.planning import BATCH_SESSIONS, due_sessions
from app.vault.places import session_place
from app.vault.sealing import Sealed
from bench.crowd import Crowd, crowd
from bench.custody import custody, open_custody
from bench.figures import Figure, at_least, at_most, only_told

SESSIONS = 400
PLANNED_SESSIONS = int(os.environ.get("PLANNING_BENCH_SESSIONS", "1000000"))
_ROUNDS = 5
_AT_ONCE = 48
_LOGINS_AT_ONCE = 40
_ROUND_SECONDS = 60.0
_PLANS = 40
_MANY_TENANTS = 1000


@dataclass(frozen=True)
class Validated:
    """What rounds of validations took."""

    sessions: int
    seconds: float
    """A round's, the median."""
    worker_cpu_seconds: float
    stores_cpu_seconds: float


def run() -> dict[str, Figure]:
    """All figures, by name."""
    with crowd(threads=100) as people:
        connect(people, SESSIONS)
        with background_worker(people) as worker:
            validate_all(people, worker, rounds=1)  # its code and keys are loaded
            ours = validate_all(people, worker, rounds=_ROUNDS)
        bare = _run_bare(people)
    cpu_seconds = ours.worker_cpu_seconds + ours.stores_cpu_seconds
    return {
        "validations per CPU second": at_least(
            0.9, ours.sessions / cpu_seconds, "sessions/s", peer="a bare loop of get_me", peer_value=bare
        ),
        "validation: CPU of the worker": only_told(ours.worker_cpu_seconds / ours.sessions * 1000, "ms/session"),
        "validation: CPU of PostgreSQL and Redis": only_told(
            ours.stores_cpu_seconds / ours.sessions * 1000, "ms/session"
        ),
        "validations by one background worker": at_least(200, SESSIONS / ours.seconds, "sessions/s"),
    } | _planning()


def connect(people: Crowd, sessions: int) -> None:
    """Log that many accounts in."""
    done = people.count("authorized")
    for start in range(0, sessions, _LOGINS_AT_ONCE):
        now = min(_LOGINS_AT_ONCE, sessions - start)
        people.scan(people.gather(now))
        people.wait_until_all("authorized", done + start + now, within_seconds=60)


@contextlib.contextmanager
def background_worker(people: Crowd) -> Iterator[psutil.Process]:
    """A background worker beside the crowd's, for the length of the block."""
    with people.another_worker(queues="background,webhooks", threads=12) as worker:
        yield worker


def validate_all(people: Crowd, worker: psutil.Process, *, rounds: int) -> Validated:
    """Have every session validated, again and again."""
    settings = people.core.settings
    assert settings.local_key_file is not None
    vault = open_custody(settings.database_url, settings.local_key_file)
    redis = psutil.Process(people.core.redis.info("server")["process_id"])
    before = (_cpu(worker), vault.server_cpu_seconds() + _cpu(redis))
    spent = [_round(people) for _ in range(rounds)]
    after = (_cpu(worker), vault.server_cpu_seconds() + _cpu(redis))
    with people.core.transaction() as db:
        sessions = db.scalar(select(func.count()).select_from(TelegramSession)) or 0
    vault.engine.dispose()
    return Validated(sessions * rounds, median(spent), after[0] - before[0], after[1] - before[1])


def _round(people: Crowd) -> float:
    """Make all due, have them planned, wait for the last; the seconds that took."""
    with people.core.transaction() as db:
        began_at = db.scalar(select(func.clock_timestamp()))
        db.execute(update(TelegramSession).values(next_validation_at=began_at))
    unseen = select(func.count()).select_from(TelegramSession).where(TelegramSession.last_validated_at < began_at)
    began = time.monotonic()
    planned_at = 0.0
    while True:
        if time.monotonic() - planned_at > 5.0:  # as beat does
            people.core.dispatch("latchkey.validate_sessions")
            planned_at = time.monotonic()
        with people.core.transaction() as db:
            left = db.scalar(unseen)
        if not left:
            return time.monotonic() - began
        if time.monotonic() - began > _ROUND_SECONDS:
            raise TimeoutError(f"{left} sessions are not validated after {_ROUND_SECONDS:.0f} s")
        time.sleep(0.05)


def _cpu(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:2]))


def _run_bare(people: Crowd) -> float:
    """Sessions per CPU second of the bare loop, in a process of its own."""
    with people.core.transaction() as db:
        rows = db.scalars(select(TelegramSession).where(TelegramSession.status == "active")).all()
    strings = [_open(people, row) for row in rows]
    command = [sys.executable, "-m", "bench.validation_bench"]
    answer = subprocess.run(command, input=json.dumps(strings), capture_output=True, text=True, timeout=120, check=True)
    return len(strings) / float(answer.stdout)


def _open(people: Crowd, row: TelegramSession) -> str:
    assert row.key_id is not None
    assert row.session_sealed is not None
    return people.core.keyring.open(
        session_place(row.tenant_id, row.id), Sealed(row.key_id, row.session_sealed)
    ).decode()


def _bare_loop(strings: list[str]) -> float:
    """The CPU seconds that asking after all of them takes."""
    from telethon import TelegramClient
    from telethon.sessions import StringSession

    async def ask(string: str, turns: asyncio.Semaphore) -> None:
        async with turns:
            client = TelegramClient(StringSession(string), 12345, "0123456789abcdef0123456789abcdef")
            await client.connect()
            assert await client.get_me()
            await client.disconnect()

    async def ask_all() -> None:
        turns = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(ask(string, turns) for string in strings))

    asyncio.run(ask_all())  # once for what is loaded and cached
    began = time.process_time()
    asyncio.run(ask_all())
    return time.process_time() - began


def _planning() -> dict[str, Figure]:
    return {}


if __name__ == "__main__":
    print(_bare_loop(json.load(sys.stdin)))
