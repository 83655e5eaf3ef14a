"""Many deaths at once are more likely Telegram's trouble, or ours, than so many people's wish: the validator pauses.

Many is ``MANY_DEATHS`` sessions within ``WITHIN_SECONDS``, and ``SHARE_OF_DEATHS`` of those that were asked meanwhile, over
all workers. Counted are sessions that were active until then, each once: what a tenant brings, or asks about again and again,
stops nobody else's validation.

While the validator pauses, it starts no visits by itself and declares no session dead; a look that a tenant asks for goes on
and changes nothing for the worse. It counts in Redis, and fails open: without Redis nobody is asked anyway.
"""

from __future__ import annotations

import time

from redis.exceptions import RedisError

from app.core import Core
from app.gathering import RedisRounds
from app.logs import get_logger
from app.redis_state import RECENT_DEATHS_KEY, VALIDATOR_PAUSED_KEY, recent_answers_key

MANY_DEATHS = 20
SHARE_OF_DEATHS = 0.1
"""A million sessions are asked 1,100 times a second and lose seven a minute in ordinary times: far below a tenth."""

WITHIN_SECONDS = 60
PAUSE_SECONDS = 300

_SLICE_SECONDS = 10  # answers are only counted, so many to a slice of time

_log = get_logger(__name__)


async def note_answers(rounds: RedisRounds, count: int) -> None:
    """Count sessions that Telegram said are alive."""
    key = recent_answers_key(_slice_now())
    try:
        await rounds.do_all(("INCRBY", key, count), ("EXPIRE", key, WITHIN_SECONDS + _SLICE_SECONDS))
    except (RedisError, OSError):
        return  # the next denial finds Redis away, too


def note_death(core: Core, *, session_id: str) -> bool:
    """Count an active session that Telegram denied or ended.

    Returns:
        Whether the validator pauses: then nothing is to be declared.
    """
    now = time.time()
    try:
        with core.redis.pipeline() as pipeline:
            pipeline.zremrangebyscore(RECENT_DEATHS_KEY, "-inf", now - WITHIN_SECONDS)
            pipeline.zadd(RECENT_DEATHS_KEY, {session_id: now})
            pipeline.expire(RECENT_DEATHS_KEY, WITHIN_SECONDS)
            pipeline.zcard(RECENT_DEATHS_KEY)
            pipeline.mget([recent_answers_key(each) for each in _recent_slices()])
            *_, deaths, answers = pipeline.execute()
        asked = deaths + sum(int(each or 0) for each in answers)
        if deaths >= MANY_DEATHS and deaths >= SHARE_OF_DEATHS * asked:
            _pause(core, deaths=deaths, asked=asked)
        return bool(core.redis.exists(VALIDATOR_PAUSED_KEY))
    except RedisError:
        return False


def is_paused(core: Core) -> bool:
    """Whether the validator pauses."""
    try:
        return bool(core.redis.exists(VALIDATOR_PAUSED_KEY))
    except RedisError:
        return False


def tell_pause(core: Core) -> bool:
    """Say so while the validator pauses, in the log and in the metric.

    Returns:
        Whether it does.
    """
    paused = is_paused(core)
    core.metrics.validator_paused.set(1 if paused else 0)
    if paused:
        _log.warning("validator.still_paused")
    return paused


def _pause(core: Core, *, deaths: int, asked: int) -> None:
    # Of many deaths at one moment one begins the pause; the others do not make it longer.
    if core.redis.set(VALIDATOR_PAUSED_KEY, "1", ex=PAUSE_SECONDS, nx=True):
        _log.error("validator.paused", deaths=deaths, asked=asked, within_seconds=WITHIN_SECONDS, seconds=PAUSE_SECONDS)


def _slice_now() -> int:
    return int(time.time()) // _SLICE_SECONDS


def _recent_slices() -> range:
    now = _slice_now()
    return range(now - WITHIN_SECONDS // _SLICE_SECONDS, now + 1)
