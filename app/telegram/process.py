"""What all Telegram work of one process shares: the loop thread, its Redis client, the flood gates, the handshake cap."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import redis.asyncio

from app.gathering import RedisRounds
from app.metrics import Metrics
from app.redis_state import make_async_redis
from app.settings import Settings
from app.telegram.connection import HANDSHAKES_AT_ONCE
from app.telegram.flood import FloodWaitManager
from app.telegram.preparation import prepare_telethon
from app.telegram.runtime import LoopThread


@dataclass(frozen=True)
class TelegramParts:
    """Built once per process that talks to Telegram. ``redis`` belongs to the loop; ``rounds`` shares its round trips."""

    runtime: LoopThread
    redis: redis.asyncio.Redis
    rounds: RedisRounds
    floods: FloodWaitManager
    handshakes: asyncio.Semaphore


def start_telegram(settings: Settings, metrics: Metrics) -> TelegramParts:
    """Start the loop thread and build what lives on it."""
    prepare_telethon(settings)
    runtime = LoopThread()
    runtime.start()

    async def build() -> TelegramParts:
        client = make_async_redis(settings.redis_url)
        return TelegramParts(
            runtime=runtime,
            redis=client,
            rounds=RedisRounds(client),
            floods=FloodWaitManager(redis=client, metrics=metrics),
            handshakes=asyncio.Semaphore(HANDSHAKES_AT_ONCE),
        )

    return runtime.run(build())


def stop_telegram(parts: TelegramParts) -> None:
    """Close the loop's Redis client and end the thread."""
    parts.runtime.run(parts.redis.aclose(), timeout_seconds=5.0)
    parts.runtime.stop()
