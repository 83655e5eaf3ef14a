"""Everybody at once: 500 and 2,000 POSTs as fast as they are taken, until every QR code is on show; two cores for everything.

Meanwhile somebody reads a login, over and over. A QR code is on show when the row says so, which is when the browser is told.
What bounds it: a login's own work, some 15 ms of CPU until its QR code is there, a third of that arithmetic.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import create_engine, text

from bench.figures import Figure, at_most, only_told, p95
from bench.people import People
from bench.throughput_bench import ANY_NUMBER
from devstack.running import RunningStack, running_stack

_POSTING = 64  # clients that each POST one login after the other
_READ_EVERY_SECONDS = 0.05
_LIMITS = {500: (8.0, 6.0), 2000: (30.0, None)}


def run() -> dict[str, Figure]:
    """All figures, by name."""
    figures: dict[str, Figure] = {}
    for number, (limit, p95_limit) in _LIMITS.items():
        with tempfile.TemporaryDirectory(prefix="latchkey-bench-") as name:
            folder = Path(name)
            folder.chmod(0o711)
            settings = ANY_NUMBER | {"LOGIN_THREADS": str(number + 100)}
            with running_stack(folder, without=("flower", "exporter", "s3"), settings=settings) as stack:
                shown, reads = _burst(stack, number)
        figures[f"{number} POSTs at once, until all QR codes are on show"] = at_most(limit, max(shown), "s")
        figures[f"{number} POSTs at once, until a QR code is on show, p95"] = (
            at_most(p95_limit, p95(shown), "s") if p95_limit else only_told(p95(shown), "s")
        )
        figures[f"reading a login meanwhile, {number} POSTs, p95"] = at_most(50.0, p95(reads) * 1000, "ms")
    return figures


def _burst(stack: RunningStack, number: int) -> tuple[list[float], list[float]]:
    """Seconds from the first POST until each QR code was on show, and what reads took meanwhile."""
    people = People(stack)
    people.log_in(people.new_account())  # everything is awake
    watched = people.start()["id"]
    with _reading(people, watched) as reads:
        began = time.time()
        with ThreadPoolExecutor(_POSTING) as pool:
            ids = [login["id"] for login in pool.map(lambda _: people.start(), range(number))]
        published = _wait_until_published(stack, ids)
        return [at - began for at in published], list(reads)


@contextlib.contextmanager
def _reading(people: People, login_id: str) -> Iterator[list[float]]:
    reads: list[float] = []
    over = threading.Event()

    def read() -> None:
        while not over.wait(_READ_EVERY_SECONDS):
            began = time.monotonic()
            people.api.call("GET", f"/v1/logins/{login_id}")
            reads.append(time.monotonic() - began)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield reads
    finally:
        over.set()
        thread.join()


def _wait_until_published(stack: RunningStack, login_ids: list[str]) -> list[float]:
    engine = create_engine(stack.description["database_url"])
    query = text(
        "SELECT extract(epoch FROM published_at) FROM logins WHERE id = ANY(:ids) AND published_at IS NOT NULL"
    )
    give_up_at = time.monotonic() + 180
    try:
        while True:
            with engine.connect() as connection:
                published = [float(at) for at in connection.scalars(query, {"ids": login_ids})]
            if len(published) == len(login_ids):
                return published
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"{len(published)} of {len(login_ids)} QR codes are on show")
            time.sleep(0.2)
    finally:
        engine.dispose()
