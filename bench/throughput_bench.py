"""Logins from POST to authorized, twenty at once, with 2 cores for everything: beside the same number by one asyncio script.

Latchkey is the whole stack (web, workers, beat, Redis, PostgreSQL), and its CPU is that of all these processes together; the
script has no queue, no database and no API. A login's key exchange alone (2,048-bit arithmetic of the protocol)
takes the script 60 ms in pure Python, and Latchkey 1.5 ms by FLINT.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.figures import Figure, at_least, only_told
from bench.peers import run_peer
from bench.people import People, cpu_seconds
from devstack.running import RunningStack, running_stack
from sandbox.process import start_sandbox

ANY_NUMBER = {
    "LOGIN_RATE_PER_MINUTE": "1000000",
    "READ_RATE_PER_MINUTE": "1000000",
    "OPEN_RATE_PER_MINUTE": "1000000",
    "MAX_WAITING_LOGINS": "20000",
    "MAX_STREAMS_PER_TENANT": "20000",
    "MAX_STREAMS_PER_ADDRESS": "20000",
}
"""Settings under which one tenant may do what a benchmark wants."""

_LOGINS, _AT_ONCE, _RUNS = 120, 20, 3


class _Rate(NamedTuple):
    per_second: float
    per_cpu_second: float


def run() -> dict[str, Figure]:
    """All figures, by name."""
    rates: dict[str, list[_Rate]] = {"latchkey": [], "telethon": [], "kurigram": []}
    with tempfile.TemporaryDirectory(prefix="latchkey-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with (
            running_stack(folder, without=("flower", "exporter", "s3"), settings=ANY_NUMBER) as stack,
            start_sandbox(folder / "peers") as telegram,
        ):
            _rate_of(stack, 20)
            for _ in range(_RUNS):
                rates["latchkey"].append(_rate_of(stack, _LOGINS))
                for peer in ("telethon", "kurigram"):
                    spent = run_peer(peer, telegram, logins=_LOGINS, at_once=_AT_ONCE)
                    rates[peer].append(_Rate(_LOGINS / spent.seconds, _LOGINS / spent.cpu_seconds))
    wall = {who: median(rate.per_second for rate in each) for who, each in rates.items()}
    cpu = {who: median(rate.per_cpu_second for rate in each) for who, each in rates.items()}
    bare = "bare Telethon"
    return {
        "logins per CPU second": at_least(2.0, cpu["latchkey"], "logins", peer=bare, peer_value=cpu["telethon"]),
        "logins a second, 20 at once": at_least(
            2.0, wall["latchkey"], "logins", peer=bare, peer_value=wall["telethon"]
        ),
        "logins per CPU second, beside Kurigram": only_told(
            cpu["latchkey"], "logins", peer="bare Kurigram", peer_value=cpu["kurigram"]
        ),
        "logins a second, 20 at once, beside Kurigram": only_told(
            wall["latchkey"], "logins", peer="bare Kurigram", peer_value=wall["kurigram"]
        ),
    }


def _rate_of(stack: RunningStack, logins: int) -> _Rate:
    people = People(stack)
    accounts = [people.new_account() for _ in range(logins)]
    cpu_before, began = cpu_seconds(stack), time.monotonic()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(people.log_in, accounts))
    seconds, cpu = time.monotonic() - began, cpu_seconds(stack) - cpu_before
    return _Rate(logins / seconds, logins / cpu)
