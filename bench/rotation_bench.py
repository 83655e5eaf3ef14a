"""Rotation: every session sealed anew under a new key, by two workers, while people log in. And what a backup reads.

200,000 sessions unless `ROTATION_BENCH_SESSIONS` says otherwise, each sealed for its place; two processes re-seal them as two
background workers do, on the database that a login worker uses meanwhile. Peer: `MultiFernet.rotate`, which is what
`cryptography` offers for it, row by row in a transaction each, as a script would do it; it binds no value to its place.
A login is timed from its start until it is authorized, its phone scanning at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median

import psutil
from cryptography.fernet import Fernet, MultiFernet
from sqlalchemy import text

from app.backups.due import find_due
from app.vault.places import session_place
from app.vault.rotation import help_rotation, rotate_keys
from bench.crowd import Crowd, crowd
from bench.custody import STRING_SESSION, TENANT, Custody, open_custody
from bench.figures import Figure, at_least, at_most, median_of, only_told

SESSIONS = int(os.environ.get("ROTATION_BENCH_SESSIONS", "200000"))
_PEER_ROWS = 4000
_VALUES = 5000
_LISTING_BATCH = 500
_LOGINS_ALONE = 12
_SETTLED_SECONDS = 1.0
"""From then on a worker's memory is watched: it has loaded what it needs."""

_LONGEST_SECONDS = 600
_MIB = 2**20


@dataclass(frozen=True)
class Rotated:
    """What two workers needed for a rotation."""

    rows: int
    seconds: float
    workers_cpu_seconds: float
    server_cpu_seconds: float
    grown_bytes: int
    """By how much the memory of one of them grew, after its first second."""


def run() -> dict[str, Figure]:
    """All figures, by name."""
    with crowd(threads=100) as people:
        settings = people.core.settings
        assert settings.local_key_file is not None
        vault = open_custody(settings.database_url, settings.local_key_file)
        vault.seed(SESSIONS)
        figures = _rotations(vault, people) | _listing(vault) | _values(vault)
        vault.engine.dispose()
    return figures


def _rotations(vault: Custody, people: Crowd) -> dict[str, Figure]:
    peer = _rotate_row_by_row(vault)
    alone = rotate(vault)
    vault.vacuum()
    _log_in(people)  # the first one finds nothing warm
    before = median(_log_in(people) for _ in range(_LOGINS_ALONE))
    during, beside = _log_in_beside(people, lambda: rotate(vault))
    return {
        f"rotation of {alone.rows:,} sessions, two workers": at_least(
            8000, alone.rows / alone.seconds, "rows/s", peer="MultiFernet, row by row", peer_value=peer, of="value"
        ),
        "rotation: CPU of the workers": only_told(alone.workers_cpu_seconds / alone.rows * 1e6, "µs/row"),
        "rotation: CPU of PostgreSQL": only_told(alone.server_cpu_seconds / alone.rows * 1e6, "µs/row"),
        "rotation: a worker's memory grew": at_most(8, max(alone.grown_bytes, beside.grown_bytes) / _MIB, "MiB"),
        "rotation while people log in": only_told(beside.rows / beside.seconds, "rows/s"),
        "a login while keys rotate, p50": at_most(
            1.5, during * 1000, "ms", peer="the same, before", peer_value=before * 1000
        ),
    }


def _listing(vault: Custody) -> dict[str, Figure]:
    vault.vacuum()
    before = psutil.Process().memory_info().rss
    rate = median_of(3, lambda: _list_due(vault))
    grown = psutil.Process().memory_info().rss - before
    return {
        "listing for a backup": at_least(20_000, rate, "rows/s"),
        "listing for a backup: memory grew": at_most(8, grown / _MIB, "MiB"),
    }


def _values(vault: Custody) -> dict[str, Figure]:
    place = session_place(TENANT, "ses_1")
    sealed = vault.keyring.seal(place, STRING_SESSION.encode())
    both = MultiFernet([Fernet(Fernet.generate_key()), Fernet(Fernet.generate_key())])
    token = both.encrypt(STRING_SESSION.encode())
    ours = median_of(
        3,
        lambda: _micros(lambda: vault.keyring.seal_under_key(sealed.key_id, place, vault.keyring.open(place, sealed))),
    )
    theirs = median_of(3, lambda: _micros(lambda: both.rotate(token)))
    return {
        "one value opened and sealed for its place, CPU": only_told(
            ours, "µs", peer="MultiFernet.rotate", peer_value=theirs
        )
    }


def rotate(vault: Custody) -> Rotated:
    """Rotate by two processes at once."""
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_worker(vault, part)) for part in ("rotate", "help")]
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()  # it is ready
        server, began = vault.server_cpu_seconds(), time.monotonic()
        answers = []
        for worker in workers:
            assert worker.stdin is not None
            print("go", file=worker.stdin, flush=True)
        for worker in workers:
            assert worker.stdout is not None
            answers.append(json.loads(worker.stdout.readline()))
        seconds = time.monotonic() - began
    return Rotated(
        rows=sum(each["rows"] for each in answers),
        seconds=seconds,
        workers_cpu_seconds=sum(each["cpu_seconds"] for each in answers),
        server_cpu_seconds=vault.server_cpu_seconds() - server,
        grown_bytes=max(each["grown_bytes"] for each in answers),
    )


@contextlib.contextmanager
def _worker(vault: Custody, part: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench.rotation_bench", part, vault.database_url, str(vault.key_file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        timer = threading.Timer(_LONGEST_SECONDS, process.kill)
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()


def _work(part: str, database_url: str, key_file: str) -> None:
    """One of the two workers, in a process of its own: waits for a line, does its part, says what that took."""
    vault = open_custody(database_url, Path(key_file))
    vault.keyring.active_key_id()
    print("ready", flush=True)
    sys.stdin.readline()
    cpu_before, process, sizes, over = time.process_time(), psutil.Process(), [], threading.Event()

    def watch() -> None:
        over.wait(_SETTLED_SECONDS)
        while not over.wait(0.1):
            sizes.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    if part == "rotate":
        rows = rotate_keys(
            transaction=vault.transaction, keyring=vault.keyring, actor="bench", max_age=timedelta(1), force=True
        ).resealed
    else:
        _wait_for_a_new_key(vault)
        rows = help_rotation(transaction=vault.transaction, keyring=vault.keyring)
    over.set()
    watcher.join()
    grown = max(sizes) - sizes[0] if sizes else 0
    print(json.dumps({"rows": rows, "cpu_seconds": time.process_time() - cpu_before, "grown_bytes": grown}), flush=True)
    vault.engine.dispose()


def _wait_for_a_new_key(vault: Custody) -> None:
    known = vault.keyring.active_key_id()
    while vault.keyring.active_key_id() == known:
        vault.keyring.forget()
        time.sleep(0.01)


def _rotate_row_by_row(vault: Custody) -> float:
    """Rows a second of the peer, on a table that holds nothing but its tokens."""
    old, new = Fernet(Fernet.generate_key()), Fernet(Fernet.generate_key())
    both = MultiFernet([new, old])
    token = old.encrypt(STRING_SESSION.encode())
    with vault.engine.begin() as connection:
        connection.execute(text("CREATE TABLE peer (id int PRIMARY KEY, token bytea NOT NULL)"))
        connection.execute(
            text("INSERT INTO peer SELECT n, :token FROM generate_series(1, :rows) AS n"),
            {"token": token, "rows": _PEER_ROWS},
        )
    began = time.monotonic()
    for number in range(1, _PEER_ROWS + 1):
        with vault.engine.begin() as connection:
            found = connection.execute(text("SELECT token FROM peer WHERE id = :id FOR UPDATE"), {"id": number})
            rotated = both.rotate(bytes(found.scalar_one()))
            connection.execute(text("UPDATE peer SET token = :token WHERE id = :id"), {"id": number, "token": rotated})
    return _PEER_ROWS / (time.monotonic() - began)


def _log_in(people: Crowd) -> float:
    """Seconds from a login's start until it is authorized."""
    began, done = time.monotonic(), people.count("authorized")
    people.scan(people.gather(1))
    people.wait_until_all("authorized", done + 1, within_seconds=60)
    return time.monotonic() - began


def _log_in_beside(people: Crowd, work: Callable[[], Rotated]) -> tuple[float, Rotated]:
    """The median of the logins that were begun while the work went on, and what came of the work."""
    results: list[Rotated] = []
    worker = threading.Thread(target=lambda: results.append(work()))
    worker.start()
    time.sleep(1.0)  # the workers have started
    spent = []
    while worker.is_alive():
        spent.append(_log_in(people))
    worker.join()
    return median(spent), results[0]


def _list_due(vault: Custody) -> float:
    after, listed, began = "", 0, time.monotonic()
    while True:
        with vault.transaction() as db:
            batch = find_due(db, after=after, limit=_LISTING_BATCH)
        if not batch:
            return listed / (time.monotonic() - began)
        after, listed = batch[-1].session.id, listed + len(batch)


def _micros(work: Callable[[], object]) -> float:
    began = time.process_time()
    for _ in range(_VALUES):
        work()
    return (time.process_time() - began) / _VALUES * 1e6


if __name__ == "__main__":
    _work(*sys.argv[1:])
