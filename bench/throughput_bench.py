"""Logins from POST to authorized, with 2 cores for everything, beside the same number by one asyncio script.

Latchkey is the whole stack (web, workers, beat, Redis, PostgreSQL), and its CPU is that of all these processes together; the
script has no queue, no database and no API. A login's key exchange alone (2,048-bit arithmetic of the protocol) takes the
script 60 ms in pure Python, and Latchkey 1.5 ms by FLINT.

With 20 at once it is not the CPU that bounds Latchkey but its manners: between two requests of one client it waits 0.2 to
0.5 s, and a login whose phone scans at once has two such pauses, so that 20 places do 28 logins a second at the very most. The
script waits for nothing. With 100 at once both are bound by their CPU.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.figures import Figure, at_least, only_told
from bench.peers import run_peer
from bench.people import People, cpu_seconds
from devstack.running import RunningStack, running_stack
from sandbox.process import RunningSandbox, start_sandbox

ANY_NUMBER = {
    "LOGIN_RATE_PER_MINUTE": "1000000",
    "READ_RATE_PER_MINUTE": "1000000",
    "OPEN_RATE_PER_MINUTE": "1000000",
    "MAX_WAITING_LOGINS": "20000",
    "MAX_STREAMS_PER_TENANT": "20000",
    "MAX_STREAMS_PER_ADDRESS": "20000",
}
"""Settings under which one tenant may do what a benchmark wants."""

_RUNS = 3
_LOGINS = {20: 120, 100: 200}
"""By how many are under way at once: how many there are in a run."""


class _Rate(NamedTuple):
    per_second: float
    per_cpu_second: float


def run() -> dict[str, Figure]:
    """All figures, by name."""
    rates: dict[tuple[str, int], list[_Rate]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="latchkey-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with (
            running_stack(folder, without=("flower", "exporter", "s3"), settings=ANY_NUMBER) as stack,
            start_sandbox(folder / "peers") as telegram,
        ):
            _rate_of(stack, logins=20, at_once=20)
            for _ in range(_RUNS):
                for at_once, logins in _LOGINS.items():
                    rates["latchkey", at_once].append(_rate_of(stack, logins=logins, at_once=at_once))
                    rates["telethon", at_once].append(_rate_of_peer("telethon", telegram, logins, at_once))
                rates["kurigram", 20].append(_rate_of_peer("kurigram", telegram, _LOGINS[20], 20))
    wall = {who: median(rate.per_second for rate in each) for who, each in rates.items()}
    cpu = {who: median(rate.per_cpu_second for rate in each) for who, each in rates.items()}
    figures: dict[str, Figure] = {}
    for at_once in _LOGINS:
        for name, found in (("logins per CPU second", cpu), ("logins a second", wall)):
            figures[f"{name}, {at_once} at once"] = at_least(
                2.0,
                found["latchkey", at_once],
                "logins",
                peer="bare Telethon",
                peer_value=found["telethon", at_once],
            )
    for name, found in (("logins per CPU second", cpu), ("logins a second", wall)):
        figures[f"{name}, 20 at once, beside Kurigram"] = only_told(
            found["latchkey", 20], "logins", peer="bare Kurigram", peer_value=found["kurigram", 20]
        )
    return figures


def _rate_of(stack: RunningStack, *, logins: int, at_once: int) -> _Rate:
    people = People(stack)
    accounts = [people.new_account() for _ in range(logins)]
    cpu_before, began = cpu_seconds(stack), time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(people.log_in, accounts))
    seconds, cpu = time.monotonic() - began, cpu_seconds(stack) - cpu_before
    return _Rate(logins / seconds, logins / cpu)


def _rate_of_peer(peer: str, telegram: RunningSandbox, logins: int, at_once: int) -> _Rate:
    spent = run_peer(peer, telegram, logins=logins, at_once=at_once)
    return _Rate(logins / spent.seconds, logins / spent.cpu_seconds)
