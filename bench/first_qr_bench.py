"""The first QR code: from the POST until it is in the browser's event stream, one person after the other.

Beside it, one script that makes a ``TelegramClient`` and asks it for the login's URL. Cold, a login makes its auth key while
its person waits; with ``WARM_CONNECTIONS``, the worker has made some before.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from bench.figures import Figure, at_most, only_told
from bench.peers import run_peer
from bench.people import People
from bench.throughput_bench import ANY_NUMBER
from devstack.running import running_stack
from sandbox.process import start_sandbox

_LOGINS, _RUNS, _WARM = 12, 3, 10
_REFILL_SECONDS = 0.3
"""Between two people: a warm connection is made anew meanwhile."""


def run() -> dict[str, Figure]:
    """All figures, by name."""
    cold, bare = _measure(warm=0)
    warm, bare_too = _measure(warm=_WARM)
    peer = "bare Telethon, TelegramClient() → url"
    return {
        "POST to the first QR code, cold, p50": at_most(1.0, cold, "ms", peer=peer, peer_value=bare),
        f"POST to the first QR code, {_WARM} warm connections, p50": at_most(
            0.35, warm, "ms", peer=peer, peer_value=bare_too
        ),
        "gained by warm connections": only_told(cold - warm, "ms"),
    }


def _measure(*, warm: int) -> tuple[float, float]:
    """Medians in ms: Latchkey's, and bare Telethon's."""
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory(prefix="latchkey-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        settings = ANY_NUMBER | {"WARM_CONNECTIONS": str(warm)}
        with (
            running_stack(folder, without=("flower", "exporter", "s3"), settings=settings) as stack,
            start_sandbox(folder / "peers") as telegram,
        ):
            people = People(stack)
            for _ in range(3):
                people.log_in(people.new_account())
            for _ in range(_RUNS):
                for _ in range(_LOGINS):
                    time.sleep(_REFILL_SECONDS)
                    ours.append(people.log_in(people.new_account()).shown)
                theirs += run_peer("telethon", telegram, logins=_LOGINS, at_once=1).url_seconds
    return median(ours) * 1000, median(theirs) * 1000
