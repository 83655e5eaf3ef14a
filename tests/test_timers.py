"""Waiting with a time limit: what comes in time comes, and who is cancelled is cancelled."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.timers import Alarm, TimeIsUp, within


def test_what_comes_in_time_comes_as_it_is() -> None:
    """A result is returned, an error is raised."""

    async def check() -> None:
        loop = asyncio.get_running_loop()
        good, bad = loop.create_future(), loop.create_future()
        loop.call_later(0.01, good.set_result, 7)
        loop.call_later(0.01, bad.set_exception, ValueError("no"))
        assert await within(5.0, good) == 7
        with pytest.raises(ValueError, match="no"):
            await within(5.0, bad)

    asyncio.run(check())


def test_what_does_not_come_in_time_is_cancelled() -> None:
    """Nobody waits for it any more, and the task that waited goes on."""

    async def check() -> None:
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with pytest.raises(TimeIsUp):
            await within(0.01, never)
        assert never.cancelled()
        await asyncio.sleep(0)

    asyncio.run(check())


@pytest.mark.parametrize("also_up", [False, True], ids=["in time", "as the time is up"])
def test_who_is_cancelled_while_waiting_is_cancelled(also_up: bool) -> None:
    """Also when the time is up in the same turn of the loop: a task that was asked to end ends."""

    async def check() -> None:
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(within(0.05 if also_up else 60.0, never))
        if also_up:
            never.add_done_callback(lambda _: waiting.cancel())
        else:
            asyncio.get_running_loop().call_soon(waiting.cancel)
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(check())


def test_an_alarm_wakes_who_waits_and_who_comes_next() -> None:
    """Once for all that rang meanwhile; without it, the time is waited out."""

    async def check() -> None:
        alarm = Alarm()
        alarm.set()
        alarm.set()
        async with asyncio.timeout(5):
            await alarm.wait(60.0)
        began = time.monotonic()
        await alarm.wait(0.05)
        assert time.monotonic() - began >= 0.05
        asyncio.get_running_loop().call_later(0.01, alarm.set)
        async with asyncio.timeout(5):
            await alarm.wait(60.0)

    asyncio.run(check())
