"""The tasks of what is kept: prune what was kept for long enough, seal the audit."""

from __future__ import annotations

from app.errors import Unavailable
from app.logs import get_logger
from app.retention import prune as prune_rows
from app.vault.audit_chain import seal_audit as seal_rows
from tasks.bootsteps import parts
from tasks.celery_app import celery_app

_log = get_logger(__name__)


@celery_app.task(name="latchkey.seal_audit", ignore_result=True)
def seal_audit() -> None:
    """See ``app.vault.audit_chain``."""
    try:
        seal_rows(parts.core.transaction)
    except Unavailable as exc:
        _log.warning("audit.sealing_put_off", detail=exc.detail)


@celery_app.task(name="latchkey.prune", ignore_result=True)
def prune() -> None:
    """See ``app.retention``."""
    try:
        prune_rows(parts.core)
    except Unavailable as exc:
        _log.warning("retention.put_off", detail=exc.detail)
