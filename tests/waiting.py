"""Waiting on a condition, with a bound, and with what was seen last in the failure."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Who has waited long looks less often: looks cost what the tests beside need, and come 5 % late at most.
_SHARE = 0.05
_LONGEST_PAUSE_SECONDS = 0.1


def wait_until(look: Callable[[], T], *, within_seconds: float = 15.0, every_seconds: float = 0.02) -> T:
    """Look until what is seen is true, and return it.

    Args:
        every_seconds: the pause between the first looks; later ones grow to a tenth of a second.

    Raises:
        AssertionError: it did not become true in time.
    """
    began = time.monotonic()
    while True:
        seen = look()
        if seen:
            return seen
        waited = time.monotonic() - began
        if waited > within_seconds:
            raise AssertionError(f"not within {within_seconds} s; last seen: {seen!r}")
        pause = max(every_seconds, min(waited * _SHARE, _LONGEST_PAUSE_SECONDS))
        time.sleep(pause)  # between two looks, not instead of one
