"""Waiting with a time limit, many thousand times over: a timer each, where ``asyncio.timeout`` cancels the task that waits.

A worker's logins do hardly anything else, and an exception that travels up through a task costs more than all the rest.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

T = TypeVar("T")


class TimeIsUp(Exception):
    """Raised when what was waited for did not come in time."""


async def within(seconds: float, future: asyncio.Future[T]) -> T:
    """Wait for a future; it is cancelled when nobody waits for it any more.

    Raises:
        TimeIsUp: it did not come in time.
        whatever the future brings.
    """
    limit = _Limit(future)
    task = asyncio.current_task()
    assert task is not None
    cancelled_before = task.cancelling()
    timer = future.get_loop().call_later(seconds, limit.reach)
    try:
        return await future
    except asyncio.CancelledError:
        # Both may have happened at once: then whoever waits is to end.
        if limit.reached and task.cancelling() == cancelled_before:
            raise TimeIsUp from None
        raise
    finally:
        timer.cancel()


class _Limit:
    __slots__ = ("future", "reached")

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self.future = future
        self.reached = False

    def reach(self) -> None:
        self.reached = self.future.cancel()


class Alarm:
    """Wakes the one who waits, or whoever comes to wait next. Lives on the loop."""

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wake."""
        self._is_set = True
        _end(self._waiter)

    async def wait(self, seconds: float) -> None:
        """Wait for ``set``, or for as long; once for all that was set meanwhile."""
        if not self._is_set:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(seconds, _end, self._waiter)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        self._is_set = False


def _end(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
