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

_delivering = threading.BoundedSemaphore(4)

_log = get_logger(__name__)


@celery_app.task(name="latchkey.sweep_webhooks", ignore_result=True)
def sweep_webhooks() -> None:
    """See ``app.webhooks.delivery``."""
    try:
        sweep(parts.core)
    except Unavailable as exc:
        _log.warning("webhooks.sweep_put_off", detail=exc.detail)


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
