"""Collecting what is new, and everything only when few would notice."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from app.collecting import NEW_OBJECTS, Collector

MANY, FEW = 5000, 10
HOURS = 3600.0


class Ring:
    """Refers to itself."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    """Leaves nothing set aside."""
    yield
    gc.unfreeze()


def test_what_is_new_is_collected_and_what_stays_is_set_aside() -> None:
    """A ring that has died is gone at the next turn, and what lives is not looked at again."""
    collector = Collector(lambda: MANY)
    dead, alive = weakref.ref(Ring()), Ring()
    collector.collect()
    assert dead() is None
    assert alive.me is alive
    assert not any(each is alive for each in gc.get_objects())


@pytest.mark.parametrize(
    ("held", "after_seconds", "gone"),
    [(FEW, 60.0, False), (FEW, 900.0, True), (MANY, 900.0, False), (MANY, 7 * HOURS, True)],
    ids=["few, but just now", "few", "many", "many, for hours"],
)
def test_what_died_after_it_was_set_aside_is_collected_in_time(held: int, after_seconds: float, gone: bool) -> None:
    """That stops the process for as long as it holds much: it is put off until it holds little, or for hours."""
    clock = [0.0]
    collector = Collector(lambda: held, monotonic=lambda: clock[0])
    ring = Ring()
    dying = weakref.ref(ring)
    collector.collect()
    del ring
    clock[0] = after_seconds
    collector.collect()
    assert (dying() is None) is gone


def test_python_collects_more_seldom_meanwhile() -> None:
    """And as usual afterwards."""

    async def look() -> int:
        collecting = asyncio.create_task(Collector(lambda: FEW).keep_collecting())
        await asyncio.sleep(0)
        meanwhile = gc.get_threshold()[0]
        collecting.cancel()
        await asyncio.wait([collecting])
        return meanwhile

    usual = gc.get_threshold()
    assert asyncio.run(look()) == NEW_OBJECTS
    assert gc.get_threshold() == usual
