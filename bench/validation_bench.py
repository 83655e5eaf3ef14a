"""Validation: one background worker asks after every session, beside a bare loop of `connect(); get_me()`.

480 accounts log in, then a stock worker validates them, again and again, with everything that it does besides: the plan,
leases, audit, pacing, verdicts. Its CPU is the worker's, PostgreSQL's and Redis's together; the loop is one Telethon script
with the same string sessions, no database and no pause, before the worker starts and after it has ended: the machine may be
another by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from statistics import median

import psutil
from sqlalchemy import ColumnElement, DateTime, func, select, update

from app.models import AuditEvent, TelegramSession
from app.vault.places import session_place
from app.vault.sealing import Sealed
from bench.crowd import Crowd, crowd
from bench.custody import open_custody
from bench.figures import Figure, at_least, only_told

SESSIONS = 480
_SECONDS, _WARM_SECONDS = 24.0, 8.0
_PLAN_SECONDS = 5.0
_AT_ONCE = 48
_BARE_RUNS = 3
_LOGINS_AT_ONCE = 40


_OFTEN = {"VALIDATION_INTERVAL_SECONDS": "1"}
"""So that there always is a session whose turn it is."""


@dataclass(frozen=True)
class Validated:
    """What rounds of validations took."""

    sessions: int
    seconds: float
    worker_cpu_seconds: float
    stores_cpu_seconds: float


def run() -> dict[str, Figure]:
    """All figures, by name."""
    with crowd(threads=100, environment=_OFTEN) as people:
        connect(people, SESSIONS)
        alone = _run_bare(people)
        with background_worker(people) as worker:
            validate_all(people, worker, seconds=_WARM_SECONDS)  # its code and keys are loaded
            ours = validate_all(people, worker, seconds=_SECONDS)
        bare = median([*alone, *_run_bare(people)])
    spent = ours.worker_cpu_seconds + ours.stores_cpu_seconds
    return {
        "validations per CPU second": at_least(
            0.9, ours.sessions / spent, "sessions/s", peer="a bare loop of get_me", peer_value=bare
        ),
        "validation: CPU of the worker": only_told(ours.worker_cpu_seconds / ours.sessions * 1000, "ms/session"),
        "validation: CPU of PostgreSQL and Redis": only_told(
            ours.stores_cpu_seconds / ours.sessions * 1000, "ms/session"
        ),
        "validations by one background worker": at_least(200, ours.sessions / ours.seconds, "sessions/s"),
    }


def connect(people: Crowd, sessions: int, *, at_once: int = _LOGINS_AT_ONCE) -> None:
    """Log that many accounts in, so many at once."""
    done = people.count("authorized")
    for start in range(0, sessions, at_once):
        now = min(at_once, sessions - start)
        people.scan(people.gather(now))
        people.wait_until_all("authorized", done + start + now, within_seconds=60)


@contextlib.contextmanager
def background_worker(people: Crowd) -> Iterator[psutil.Process]:
    """A background worker beside the crowd's, for the length of the block."""
    with people.another_worker(queues="background,webhooks", threads=12) as worker:
        yield worker


def validate_all(people: Crowd, worker: psutil.Process, *, seconds: float) -> Validated:
    """Have every session validated, again and again, for so long: there is always one that is due."""
    settings = people.core.settings
    assert settings.local_key_file is not None
    vault = open_custody(settings.database_url, settings.local_key_file)
    redis = psutil.Process(people.core.redis.info("server")["process_id"])
    began, began_at = time.monotonic(), make_due(people)
    before = (cpu_seconds(worker), vault.server_cpu_seconds() + cpu_seconds(redis), _openings(people))
    while (spent := time.monotonic() - began) < seconds:
        people.core.dispatch("latchkey.validate_sessions")  # as beat does
        time.sleep(min(_PLAN_SECONDS, seconds - spent))
    after = (cpu_seconds(worker), vault.server_cpu_seconds() + cpu_seconds(redis), _openings(people))
    vault.engine.dispose()
    unseen = _count(people, TelegramSession.last_validated_at < began_at)
    if unseen:
        raise RuntimeError(f"{unseen} sessions were not validated")
    return Validated(after[2] - before[2], spent, after[0] - before[0], after[1] - before[1])


def make_due(people: Crowd, *, at_most: int | None = None) -> datetime:
    """Make sessions due, all unless it is said how many; the moment that they are due at, by the database's clock."""
    with people.core.transaction() as db:
        now = db.scalars(select(func.clock_timestamp(type_=DateTime(timezone=True)))).one()
        chosen = select(TelegramSession.id).order_by(TelegramSession.id).limit(at_most)
        db.execute(update(TelegramSession).where(TelegramSession.id.in_(chosen)).values(next_validation_at=now))
    return now


def _count(people: Crowd, *conditions: ColumnElement[bool]) -> int:
    with people.core.transaction() as db:
        return db.scalar(select(func.count()).select_from(TelegramSession).where(*conditions)) or 0


def _openings(people: Crowd) -> int:
    """Each validation has left its row in the audit."""
    with people.core.transaction() as db:
        return db.scalar(select(func.count()).where(AuditEvent.action == "session.opened")) or 0


def cpu_seconds(process: psutil.Process) -> float:
    """What a process has used since it started."""
    return float(sum(process.cpu_times()[:2]))


def _run_bare(people: Crowd) -> list[float]:
    """Sessions per CPU second of the bare loop, in a process of its own, of each time round."""
    with people.core.transaction() as db:
        rows = db.scalars(select(TelegramSession).where(TelegramSession.status == "active")).all()
    strings = [_open(people, row) for row in rows]
    command = [sys.executable, "-m", "bench.validation_bench"]
    answer = subprocess.run(command, input=json.dumps(strings), capture_output=True, text=True, timeout=120, check=True)
    return [len(strings) / seconds for seconds in json.loads(answer.stdout)]


def _open(people: Crowd, row: TelegramSession) -> str:
    assert row.key_id is not None
    assert row.session_sealed is not None
    return people.core.keyring.open(
        session_place(row.tenant_id, row.id), Sealed(row.key_id, row.session_sealed)
    ).decode()


def _bare_loop(strings: list[str]) -> list[float]:
    """The CPU seconds that asking after all of them takes, several times."""
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

    def measure() -> float:
        began = time.process_time()
        asyncio.run(ask_all())
        return time.process_time() - began

    return [measure() for _ in range(1 + _BARE_RUNS)][1:]  # the first time loads and caches


if __name__ == "__main__":
    print(json.dumps(_bare_loop(json.load(sys.stdin))))
