"""Periodic tasks: one at a time over all workers, and let go of when a worker dies."""

from __future__ import annotations

import time

from app.core import Core
from app.periodic import PERIODIC_TASKS, one_at_a_time, record_success
from app.redis_state import PERIODIC_LOCK_PREFIX

TASK = PERIODIC_TASKS[0]


def test_a_task_does_not_overlap_itself(core: Core) -> None:
    """However long it takes, on whatever worker; another task is not held up, and after its end it runs again."""
    with one_at_a_time(core.redis, TASK, hold_seconds=0.3) as first:
        time.sleep(0.8)
        with one_at_a_time(core.redis, TASK) as second, one_at_a_time(core.redis, PERIODIC_TASKS[1]) as other:
            assert (first, second, other) == (True, False, True)
    with one_at_a_time(core.redis, TASK) as again:
        assert again


def test_a_worker_that_dies_lets_go_within_seconds(core: Core) -> None:
    """What it held runs out; and one that comes late lets go of nobody else's."""
    core.redis.set(PERIODIC_LOCK_PREFIX + TASK, "a dead worker", px=200)
    with one_at_a_time(core.redis, TASK) as mine:
        assert not mine
    time.sleep(0.3)
    with one_at_a_time(core.redis, TASK) as mine:
        assert mine
        core.redis.set(PERIODIC_LOCK_PREFIX + TASK, "another worker")
    assert core.redis.get(PERIODIC_LOCK_PREFIX + TASK) == b"another worker"


def test_a_task_runs_while_redis_is_away(core: Core) -> None:
    """Each is safe beside itself: the hold only saves work."""
    away = type(core.redis)(host="127.0.0.1", port=1, socket_connect_timeout=0.2)
    with one_at_a_time(away, TASK) as mine:
        assert mine
    record_success(away, TASK)
