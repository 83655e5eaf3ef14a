"""The garbage collector of a process that holds many objects for long: it looks at what is new, and not at everything again.

Python's own full collections look at all objects each time these have grown by a quarter. In a worker that holds thousands of
logins that stops the process for seconds, to find next to nothing: an ended login is gone when nobody refers to it any more.
So what has been looked at once is set aside (``gc.freeze``), every few seconds, a little at a time. Rings of it that have died
since are looked for when few logins are held, or after hours.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable

from app.logs import get_logger

EVERY_SECONDS = 2.0
NEW_OBJECTS = 10_000
"""So many more objects than before are looked at together meanwhile; Python's own 700 is a dozen connections."""

_THOROUGH_SECONDS = 600.0
_THOROUGH_AT_LAST_SECONDS = 6 * 3600.0
_FEW = 250

_log = get_logger(__name__)


class Collector:
    """Collects what is new, and now and then everything. There is one in a process; lives on the loop.

    Args:
        held: how many logins, or whatever lives long, the process holds now.
        monotonic: the clock.
    """

    def __init__(self, held: Callable[[], int], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._held = held
        self._monotonic = monotonic
        self._thorough_at = monotonic()

    async def keep_collecting(self) -> None:
        """Collect until cancelled; then it is Python's own affair again."""
        usual = gc.get_threshold()
        gc.set_threshold(NEW_OBJECTS, *usual[1:])
        try:
            while True:
                await asyncio.sleep(EVERY_SECONDS)
                self.collect()
        finally:
            gc.set_threshold(*usual)
            gc.unfreeze()

    def collect(self) -> None:
        """Look at what has come since, or at everything if its time has come, and set aside what stays."""
        since_seconds = self._monotonic() - self._thorough_at
        few = self._held() < _FEW
        if since_seconds >= (_THOROUGH_SECONDS if few else _THOROUGH_AT_LAST_SECONDS):
            gc.unfreeze()
            self._thorough_at = self._monotonic()
            began = time.perf_counter()
            found = gc.collect()
            _log.debug("garbage.collected", objects=found, seconds=round(time.perf_counter() - began, 3))
        else:
            gc.collect()
        gc.freeze()
