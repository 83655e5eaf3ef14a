"""What the stack's processes hold: memory, descriptors, threads, connections. Before and after, within bounds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil

from chaos.field import LOGIN_WORKERS, Field

PARTS = (*LOGIN_WORKERS, "worker-background-1", "beat", "web")

MORE_MEMORY_BYTES = 60 * 1024 * 1024
MORE_MEMORY_OF_BACKUPS_BYTES = 120 * 1024 * 1024
"""Of the background worker: every backup makes a client of S3 anew, in each thread's part of the heap. In calm weather that
levels off 60 MiB above the beginning."""
MORE_DESCRIPTORS = (
    85  # pools keep what their busiest moment asked for: Redis 50 at most, PostgreSQL 12, S3 8, and threads
)
MORE_THREADS = 24  # what the pools of a process that has just begun do not have yet
TELEGRAM_CONNECTIONS = 3  # validations go on
_LOOKS, _LOOK_SECONDS = 20, 0.5
BACKENDS = 60  # 12 of each process's pool at most, and unpooled ones for moments


@dataclass(frozen=True)
class Footprint:
    """One part's, with all its processes. ``pids`` tells whether it is the same part still."""

    pids: frozenset[int]
    memory_bytes: int
    descriptors: int
    threads: int


def measure(field: Field) -> dict[str, Footprint]:
    """Measure every part."""
    return {name: _measure(field.tree(name)) for name in PARTS}


def _measure(processes: list[psutil.Process]) -> Footprint:
    memory = descriptors = threads = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            memory += process.memory_info().rss
            descriptors += process.num_fds()
            threads += process.num_threads()
    return Footprint(frozenset(each.pid for each in processes), memory, descriptors, threads)


def find_growth(before: dict[str, Footprint], after: dict[str, Footprint], *, logins_at_once: int) -> Iterator[str]:
    """Say which part holds more than it may.

    A part that was started anew is measured against the former one's beginning: it has done less since.

    Args:
        logins_at_once: how many there were: a login worker keeps a thread for each, as its pool never shrinks.
    """
    for name, now in after.items():
        then, threads = before[name], MORE_THREADS + (logins_at_once if name in LOGIN_WORKERS else 0)
        memory = MORE_MEMORY_OF_BACKUPS_BYTES if name == "worker-background-1" else MORE_MEMORY_BYTES
        for what, bound in (
            ("memory_bytes", memory),
            ("descriptors", MORE_DESCRIPTORS),
            ("threads", threads),
        ):
            was, is_now = getattr(then, what), getattr(now, what)
            if is_now > was + bound:
                yield f"{name} has grown from {was} to {is_now} {what.replace('_', ' ')}"


def find_connections(field: Field) -> Iterator[str]:
    """Say which server holds more connections than a stack at rest needs: validations go on, a leak stays."""
    connections = _fewest(lambda: int(field.telegram.stats()["connections"]), TELEGRAM_CONNECTIONS)
    if connections > TELEGRAM_CONNECTIONS:
        yield f"{connections} connections to Telegram are open"
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    backends = _fewest(lambda: int(field.rows(query)[0][0]), BACKENDS)
    if backends > BACKENDS:
        yield f"PostgreSQL has {backends} backends"


def _fewest(count: Callable[[], int], bound: int) -> int:
    """The fewest of some seconds, or the first that is within the bound."""
    fewest = count()
    for _ in range(_LOOKS):
        if fewest <= bound:
            break
        time.sleep(_LOOK_SECONDS)
        fewest = min(fewest, count())
    return fewest
