"""Room for what costs much of the process's time: a few such calls at once, the others wait in line.

One thread does the work of all greenlets. Were everybody's POST begun at once, each step of somebody else's read would wait
for a step of each of them; as it is, it waits for those of a few. More at once would start no more logins: they cost CPU, and
what a few wait for the stores is enough to let the others work.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import Unavailable

AT_ONCE = 4
_LONGEST_SECONDS = 8.0


class Room:
    """Safe for threads and greenlets."""

    def __init__(self, *, longest_seconds: float = _LONGEST_SECONDS) -> None:
        self._free = threading.Semaphore(AT_ONCE)
        self._longest_seconds = longest_seconds
        self._line: set[object] = set()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for room, and hold it for a block.

        Raises:
            Unavailable: there was none for too long.
        """
        place = object()
        self._line.add(place)
        try:
            free = self._free.acquire(timeout=self._longest_seconds)
        finally:
            self._line.discard(place)
        if not free:
            raise Unavailable("There is too much to do right now; try again.")
        try:
            yield
        finally:
            self._free.release()

    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._line)
