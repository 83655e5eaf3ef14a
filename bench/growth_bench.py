"""Growth: what waiting, validating and rotating cost at three sizes each, and what a second login worker brings.

A slope is that of the line through the three points, both axes logarithmic: 1 is in proportion, and a limit of 1.1 leaves room
for noise. Memory is what the worker has more of than when nobody waits; CPU is that of workers and stores together. A second
worker must do what the first does at nearly the same price (what is written together gets fewer): on two cores, which
everything shares, the throughput of both shows little.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from statistics import linear_regression
from typing import NamedTuple

import psutil
from sqlalchemy import func, select

from app.models import TelegramSession
from bench.crowd import Crowd, crowd
from bench.custody import custody, open_custody
from bench.figures import Figure, at_most, only_told
from bench.rotation_bench import rotate
from bench.validation_bench import background_worker, connect, cpu_seconds, make_due

_WAITING = (100, 200, 400)
_VALIDATED = (48, 96, 192)  # what a worker has room for at once: no time is spent on waiting for the next plan
_ROTATED = (20_000, 40_000, 80_000)
_WATCH_SECONDS = 12.0
_LOGINS, _LOGINS_AT_ONCE = 80, 40
_LONGEST_SECONDS = 90.0
_PLAN_SECONDS = 5.0
_KIB = 1024


class _Work(NamedTuple):
    seconds: float
    cpu_seconds: float


def run() -> dict[str, Figure]:
    """All figures, by name."""
    return _waiting() | _two_workers_and_validation() | _rotation()


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """How fast a cost grows: the exponent of the size that fits best."""
    return linear_regression([math.log(each) for each in sizes], [math.log(each) for each in costs]).slope


def _waiting() -> dict[str, Figure]:
    grown, shares = [], []
    with crowd(threads=max(_WAITING) + 50) as people:
        people.gather(1)  # the first one loads what all need
        people.wait_until_all("waiting_for_scan", 1, within_seconds=30)
        idle, there = people.use_over(2.0).rss_bytes, 1
        for size in _WAITING:
            people.gather(size - there)
            people.wait_until_all("waiting_for_scan", size, within_seconds=_LONGEST_SECONDS)
            use, there = people.use_over(_WATCH_SECONDS), size
            grown.append(use.rss_bytes - idle)
            shares.append(use.cpu_share)
    most = _WAITING[-1]
    return {
        "growth of waiting logins' memory, slope": at_most(1.1, slope(_WAITING, grown), ""),
        "growth of waiting logins' CPU, slope": at_most(1.1, slope(_WAITING, shares), ""),
        f"{most} waiting logins: memory of each": only_told(grown[-1] / most / _KIB, "KiB"),
        f"{most} waiting logins: CPU": only_told(shares[-1] * 100, "% of a core"),
    }


def _two_workers_and_validation() -> dict[str, Figure]:
    with crowd(threads=100) as people:
        connect(people, _LOGINS_AT_ONCE)  # everything is loaded
        one = _log_in(people, [people.worker])
        with people.another_worker(queues="logins", threads=100) as second:
            two = _log_in(people, [people.worker, second])
        with background_worker(people) as worker:
            _validate(people, worker, _VALIDATED[0])
            spent = [_validate(people, worker, size) for size in _VALIDATED]
    return {
        "two login workers, CPU of a login": at_most(
            1.2, two.cpu_seconds / _LOGINS * 1000, "ms", peer="one worker", peer_value=one.cpu_seconds / _LOGINS * 1000
        ),
        "two login workers, logins": only_told(
            _LOGINS / two.seconds, "logins/s", peer="one worker", peer_value=_LOGINS / one.seconds
        ),
        "growth of validation, slope": at_most(1.1, slope(_VALIDATED, spent), ""),
    }


def _log_in(people: Crowd, workers: list[psutil.Process]) -> _Work:
    """What that many logins take of these workers."""
    before, began = sum(cpu_seconds(each) for each in workers), time.monotonic()
    connect(people, _LOGINS, at_once=_LOGINS_AT_ONCE)
    return _Work(time.monotonic() - began, sum(cpu_seconds(each) for each in workers) - before)


def _validate(people: Crowd, worker: psutil.Process, sessions: int) -> float:
    """CPU seconds that it takes to validate that many, once each."""
    settings = people.core.settings
    assert settings.local_key_file is not None
    vault = open_custody(settings.database_url, settings.local_key_file)
    done = people.count("authorized")
    if done < sessions:
        connect(people, sessions - done)
    time.sleep(1.0)  # the login worker has ended what it was about
    before, began = cpu_seconds(worker) + vault.server_cpu_seconds(), time.monotonic()
    now = make_due(people, at_most=sessions)
    turns = 0
    while _validated_since(people, now) < sessions:
        if time.monotonic() - began > turns * _PLAN_SECONDS:
            people.core.dispatch("latchkey.validate_sessions")  # as beat does
            turns += 1
        if time.monotonic() - began > _LONGEST_SECONDS:
            raise TimeoutError(f"{_validated_since(people, now)} of {sessions} sessions were validated")
        time.sleep(0.2)
    spent = cpu_seconds(worker) + vault.server_cpu_seconds() - before
    vault.engine.dispose()
    return spent


def _validated_since(people: Crowd, moment: object) -> int:
    with people.core.transaction() as db:
        query = select(func.count()).select_from(TelegramSession).where(TelegramSession.last_validated_at >= moment)
        return db.scalar(query) or 0


def _rotation() -> dict[str, Figure]:
    spent, there = [], 0
    with custody() as vault:
        for size in _ROTATED:
            vault.seed(size - there, first=there)
            there = size
            done = rotate(vault)
            spent.append(done.workers_cpu_seconds + done.server_cpu_seconds)
    return {"growth of rotation, slope": at_most(1.1, slope(_ROTATED, spent), "")}
