"""The tasks of webhooks: send each endpoint with something due to a worker; deliver to one.

A receiver may let us wait. Deliveries have a few of the worker's threads and no more; what finds none free waits in
PostgreSQL for the next sweep.
"""

from __future__ import annotations

import threading

from app.errors import Transient, Unavailable
from app.logs import get_logger
from app.webhooks.delivery import deliver_due
from app.webhooks.delivery import sweep_webhooks as sweep
from tasks.bootsteps import parts
from tasks.celery_app import celery_app
from tasks.periodic import periodic_task

_delivering = threading.BoundedSemaphore(4)

_log = get_logger(__name__)


@periodic_task("latchkey.sweep_webhooks")
def sweep_webhooks() -> None:
    """See ``app.webhooks.delivery``."""
    sweep(parts.core)


@celery_app.task(name="latchkey.deliver_webhooks", ignore_result=True)
def deliver_webhooks(endpoint_id: str) -> None:
    """See ``app.webhooks.delivery``."""
    if not _delivering.acquire(blocking=False):
        return
    try:
        deliver_due(parts.core, endpoint_id)
    except (Unavailable, Transient) as exc:
        _log.warning("webhooks.put_off", endpoint_id=endpoint_id, detail=exc.detail)
    finally:
        _delivering.release()
