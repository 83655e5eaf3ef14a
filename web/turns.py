"""Turns: what costs a process much is done a few at a time, so that whoever only reads does not wait behind a crowd.

Five hundred people who start a login at once are five hundred greenlets with some milliseconds of work each. All of them at
once would finish no sooner, and a read, which yields at each of its questions, would wait for each of them each time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import Unavailable

AT_ONCE = 4
"""500 POSTs at once: reads meanwhile take 30 to 44 ms (p95), and all QR codes are on show after 5.1 s; with 8 turns 49 ms and
4.7 s, without turns 130 to 210 ms and 5.8 s."""

LONGEST_WAIT_SECONDS = 10.0


class Turns:
    """Lets a few in at a time, in the order of their coming. Safe for threads and greenlets."""

    def __init__(self, *, at_once: int = AT_ONCE, longest_wait_seconds: float = LONGEST_WAIT_SECONDS) -> None:
        self._free = threading.BoundedSemaphore(at_once)
        self._longest_wait_seconds = longest_wait_seconds

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, and have it for the length of a block. Hold no connection while waiting.

        Raises:
            Unavailable: it did not come in time.
        """
        if not self._free.acquire(timeout=self._longest_wait_seconds):
            raise Unavailable("Too many logins are being started; try again.")
        try:
            yield
        finally:
            self._free.release()
