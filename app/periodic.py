"""When each periodic task last succeeded, kept in Redis for the gauge ``telethon_last_success_timestamp_seconds``.

Knows the tasks' names and nothing of what they do, nor of Celery.
"""

from __future__ import annotations

import contextlib
import time

import redis
from redis.exceptions import RedisError

from app.redis_state import LAST_SUCCESS_KEY

PERIODIC_TASKS = (
    "latchkey.resume_orphaned_logins",
    "latchkey.log_out_auth_keys",
    "latchkey.rotate_keys",
    "latchkey.back_up_sessions",
    "latchkey.verify_backups",
    "latchkey.expire_backups",
    "latchkey.validate_sessions",
    "latchkey.log_out_sessions",
    "latchkey.seal_audit",
    "latchkey.sweep_webhooks",
    "latchkey.prune",
    "latchkey.purge_tenants",
    "latchkey.retire_idle_sessions",
)
"""Everything that beat sends. None of it makes events: Flower's room is for tasks that somebody may look for."""


def record_success(cache: redis.Redis, task: str, *, at: float | None = None) -> None:
    """Note that a task has done its work.

    Args:
        at: Unix time in seconds; None: now. While Redis is away nothing is noted: the next run notes it.
    """
    with contextlib.suppress(RedisError):
        cache.hset(LAST_SUCCESS_KEY, task, repr(time.time() if at is None else at))


def read_successes(cache: redis.Redis) -> dict[str, float]:
    """When each periodic task last succeeded, in Unix seconds; 0 for one that never did.

    Raises:
        RedisError: Redis is away.
    """
    noted = dict(zip(PERIODIC_TASKS, cache.hmget(LAST_SUCCESS_KEY, PERIODIC_TASKS), strict=True))
    return {task: float(at or 0) for task, at in noted.items()}
