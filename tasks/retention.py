"""The tasks of what is kept: prune what was kept for long enough, seal the audit, purge tenants."""

from __future__ import annotations

from app.backups.bucket import make_bucket
from app.logs import get_logger
from app.purging import purge_tenants as purge
from app.retention import prune as prune_rows
from app.vault.audit_chain import seal_audit as seal_rows
from tasks.bootsteps import parts
from tasks.periodic import periodic_task

_log = get_logger(__name__)


@periodic_task("latchkey.seal_audit")
def seal_audit() -> None:
    """See ``app.vault.audit_chain``."""
    seal_rows(parts.core.transaction)


@periodic_task("latchkey.prune")
def prune() -> None:
    """See ``app.retention``."""
    prune_rows(parts.core)


@periodic_task("latchkey.purge_tenants")
def purge_tenants() -> None:
    """See ``app.purging``."""
    core = parts.core
    purge(core, make_bucket(core.settings) if core.settings.s3_bucket is not None else None)
