"""Background loops that must not end: one that does is started again, logged and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from app.logs import get_logger
from app.metrics import Metrics

RESTART_SECONDS = 1.0

_log = get_logger(__name__)


async def supervise(loop: Callable[[], Awaitable[None]], *, name: str, metrics: Metrics) -> None:
    """Run a loop for ever, on the event loop. Ends only by being cancelled.

    Args:
        loop: what should never return; whatever it raises is logged.
        name: for the log and the metric ``telethon_background_restarts_total``.
    """
    while True:
        try:
            await loop()
            _log.error("background.ended", loop=name)
        except Exception:  # noqa: BLE001  # the outermost edge of this loop: nobody else would notice its end
            _log.exception("background.failed", loop=name)
        metrics.background_restarts.labels(loop=name).inc()
        await asyncio.sleep(RESTART_SECONDS)
