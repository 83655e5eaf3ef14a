"""The form of a task that beat sends: it does its work or puts it off, and tells when it last succeeded.

It makes no events: such tasks come every few seconds, and would push out of Flower's memory what somebody may look for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from app.errors import Permanent, Transient, Unavailable
from app.logs import get_logger
from app.periodic import one_at_a_time, record_success
from app.tracing import outside_of_traces
from tasks.bootsteps import parts
from tasks.celery_app import celery_app

_log = get_logger(__name__)


def periodic_task(name: str) -> Callable[[Callable[[], None]], Any]:
    """Register a task that beat sends.

    What is away puts the work off until the next run, and what somebody has to mend first refuses it. Both are logged, and
    neither is a success. One that still runs, on whatever worker, is not begun beside itself.

    Args:
        name: one of ``PERIODIC_TASKS``.
    """

    def register(work: Callable[[], None]) -> Any:
        @wraps(work)
        def run() -> None:
            try:
                with one_at_a_time(parts.core.redis, name) as mine:
                    if not mine:
                        _log.debug("periodic.still_running", task=name)
                        return
                    with outside_of_traces():  # what it sends is somebody's business, and not its own
                        work()
            except (Transient, Unavailable) as exc:
                _log.warning("periodic.put_off", task=name, detail=exc.detail)
            except Permanent as exc:
                _log.error("periodic.refused", task=name, code=exc.code, detail=exc.detail)
            else:
                record_success(parts.core.redis, name)

        return celery_app.task(name=name, ignore_result=True, send_events=False)(run)

    return register
