"""The tasks of what is kept: prune what was kept for long enough, seal the audit, purge tenants."""

from __future__ import annotations

from app.backups.bucket import make_bucket
from app.errors import Permanent, Transient, Unavailable
from app.logs import get_logger
from app.purging import purge_tenants as purge
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


@celery_app.task(name="latchkey.purge_tenants", ignore_result=True)
def purge_tenants() -> None:
    """See ``app.purging``."""
    core = parts.core
    try:
        purge(core, make_bucket(core.settings) if core.settings.s3_bucket is not None else None)
    except (Transient, Unavailable) as exc:
        _log.warning("purge.put_off", detail=exc.detail)
    except Permanent as exc:
        _log.error("purge.refused", code=exc.code, detail=exc.detail)
