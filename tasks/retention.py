"""The task of retention: prune what has been kept for long enough."""

from __future__ import annotations

from app.errors import Unavailable
from app.logs import get_logger
from app.retention import prune as prune_rows
from tasks.bootsteps import parts
from tasks.celery_app import celery_app

_log = get_logger(__name__)


@celery_app.task(name="latchkey.prune", ignore_result=True)
def prune() -> None:
    """See ``app.retention``."""
    try:
        prune_rows(parts.core)
    except Unavailable as exc:
        _log.warning("retention.put_off", detail=exc.detail)
