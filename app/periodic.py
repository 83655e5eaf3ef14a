"""Periodic tasks: one at a time, and when each last succeeded, for the gauge ``telethon_last_success_timestamp_seconds``.

Knows the tasks' names and nothing of what they do, nor of Celery.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Iterator

import redis
from redis.exceptions import RedisError

from app.redis_state import LAST_SUCCESS_KEY, PERIODIC_LOCK_PREFIX

HOLD_SECONDS = 15.0
"""How long a task that died is still taken for one that runs."""

_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

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


@contextlib.contextmanager
def one_at_a_time(cache: redis.Redis, task: str, *, hold_seconds: float = HOLD_SECONDS) -> Iterator[bool]:
    """Hold a task for a block, over all workers; False: it runs already, here or elsewhere.

    Held by renewing, so that a worker that dies lets go within ``hold_seconds``. While Redis is away a task runs all the same:
    each is safe beside itself, this only saves the work.
    """
    key, token = PERIODIC_LOCK_PREFIX + task, secrets.token_hex(8)
    try:
        if not cache.set(key, token, nx=True, px=int(hold_seconds * 1000)):
            yield False
            return
    except RedisError:
        yield True
        return
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(cache, key, token, hold_seconds, over), daemon=True)
    keeper.start()
    try:
        yield True
    finally:
        over.set()
        with contextlib.suppress(RedisError):
            cache.eval(_RELEASE, 1, key, token)


def _keep(cache: redis.Redis, key: str, token: str, hold_seconds: float, over: threading.Event) -> None:
    while not over.wait(hold_seconds / 3):
        with contextlib.suppress(RedisError):
            cache.eval(_RENEW, 1, key, token, int(hold_seconds * 1000))


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
