"""Waiting on a condition, with a bound, and with what was seen last in the failure."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(look: Callable[[], T], *, within_seconds: float = 15.0, every_seconds: float = 0.02) -> T:
    """Look until what is seen is true, and return it.

    Raises:
        AssertionError: it did not become true in time.
    """
    give_up_at = time.monotonic() + within_seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > give_up_at:
            raise AssertionError(f"not within {within_seconds} s; last seen: {seen!r}")
        time.sleep(every_seconds)  # between two looks, not instead of one
