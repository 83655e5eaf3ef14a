"""Many deaths at once are more likely Telegram's trouble, or ours, than so many people's wish: the validator pauses.

While it pauses, it starts no visits by itself and declares no session dead; a look that a tenant asks for goes on and changes
nothing for the worse. It counts over all workers, in Redis, and fails open: without Redis nothing is planned anyway.
"""

from __future__ import annotations

import time

from redis.exceptions import RedisError

from app.core import Core
from app.ids import new_id
from app.logs import get_logger
from app.redis_state import RECENT_DEATHS_KEY, VALIDATOR_PAUSED_KEY

MANY_DEATHS = 20
"""So many within ``WITHIN_SECONDS``, over the whole installation. A million sessions lose seven a minute in ordinary times."""

WITHIN_SECONDS = 60
PAUSE_SECONDS = 300

_log = get_logger(__name__)


def note_death(core: Core) -> bool:
    """Count a session that Telegram denied or ended.

    Returns:
        Whether the validator pauses: then nothing is to be declared.
    """
    now = time.time()
    try:
        with core.redis.pipeline() as pipeline:
            pipeline.zremrangebyscore(RECENT_DEATHS_KEY, "-inf", now - WITHIN_SECONDS)
            pipeline.zadd(RECENT_DEATHS_KEY, {new_id("death"): now})
            pipeline.expire(RECENT_DEATHS_KEY, WITHIN_SECONDS)
            pipeline.zcard(RECENT_DEATHS_KEY)
            pipeline.exists(VALIDATOR_PAUSED_KEY)
            *_, deaths, paused = pipeline.execute()
        if deaths >= MANY_DEATHS and not paused:
            core.redis.set(VALIDATOR_PAUSED_KEY, "1", ex=PAUSE_SECONDS)
            _log.error("validator.paused", deaths=deaths, within_seconds=WITHIN_SECONDS, seconds=PAUSE_SECONDS)
            return True
    except RedisError:
        return False
    return bool(paused)


def is_paused(core: Core) -> bool:
    """Whether the validator pauses; keeps the metric, too."""
    try:
        paused = bool(core.redis.exists(VALIDATOR_PAUSED_KEY))
    except RedisError:
        paused = False
    core.metrics.validator_paused.set(1 if paused else 0)
    if paused:
        _log.warning("validator.still_paused")
    return paused
