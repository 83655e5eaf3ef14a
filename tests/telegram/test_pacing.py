"""Pacing: pauses that end at ticks are pauses as long as any other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from redis.asyncio import Redis
from telethon.tl.functions.account import GetPasswordRequest

from app.core import Core
from app.settings import DataCentre
from app.telegram.calls import PACE_SECONDS, PacedCaller
from app.telegram.connection import TelegramConnection
from app.telegram.errors import ConnectionLost
from app.telegram.flood import FloodWaitManager
from app.telegram.gates import Caller
from app.telegram.identity import identity_for

TICK_SECONDS = 0.1
_LATE_SECONDS = 0.25
"""How late a busy machine may wake somebody up."""


def shortest(low: float, _: float) -> float:
    """Pick the shortest pause that is allowed."""
    return low


def longest(_: float, high: float) -> float:
    """Pick the longest."""
    return high


@pytest.mark.parametrize("pick", [shortest, longest])
def test_pauses_end_at_ticks_and_keep_their_bounds(
    redis_url: str, core: Core, pick: Callable[[float, float], float]
) -> None:
    """200 to 500 ms, whatever is picked; callers that began one after the other go on at the same moments."""

    async def call_once(floods: FloodWaitManager, number: int) -> tuple[float, float]:
        await asyncio.sleep(number * 0.01)
        who = Caller(core.settings, api_id=1, auth_key=bytes([number] * 256))
        caller = PacedCaller(
            floods=floods, metrics=core.metrics, caller=who, fresh=False, tick_seconds=TICK_SECONDS, uniform=pick
        )
        began = time.monotonic()
        nowhere = TelegramConnection(
            identity=identity_for(core.settings, {}),
            data_centre=DataCentre(2, "127.0.0.1", 1),
            auth_key=bytes(256),
            handshakes=asyncio.Semaphore(1),
        )
        with pytest.raises(ConnectionLost):
            await caller.call(nowhere, GetPasswordRequest())
        return began, time.monotonic()

    async def call_all() -> list[tuple[float, float]]:
        async with Redis.from_url(redis_url) as client:
            floods = FloodWaitManager(redis=client, metrics=core.metrics)
            return list(await asyncio.gather(*(call_once(floods, number) for number in range(10))))

    calls = asyncio.run(call_all())
    pauses = [ended - began for began, ended in calls]
    assert min(pauses) >= PACE_SECONDS[0]
    assert max(pauses) <= PACE_SECONDS[1] + _LATE_SECONDS
    # Begun within one tick, they end at one or two.
    assert len({ended // TICK_SECONDS for _, ended in calls}) <= 2 + _LATE_SECONDS // TICK_SECONDS
