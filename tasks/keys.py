"""The task of keys: rotate them when their time has come, and go on where the last run stopped."""

from __future__ import annotations

from datetime import timedelta

from app.identities import seal_what_is_open
from app.logs import get_logger
from app.vault.rotation import rotate_keys as rotate
from tasks.bootsteps import parts
from tasks.periodic import periodic_task

_LIMIT_SECONDS = 1800.0

_log = get_logger(__name__)


@periodic_task("latchkey.rotate_keys")
def rotate_keys() -> None:
    """See ``app.vault.rotation``."""
    core = parts.core
    seal_what_is_open(core.transaction, core.keyring)
    report = rotate(
        transaction=core.transaction,
        keyring=core.keyring,
        actor=core.actor,
        max_age=timedelta(days=core.settings.key_rotation_days),
        limit_seconds=_LIMIT_SECONDS,
    )
    if report.replaced or report.resealed or report.retired or report.broken:
        _log.info(
            "keys.rotated",
            active=report.active_key_id,
            resealed=report.resealed,
            left=report.left,
            retired=report.retired,
            broken=len(report.broken),
        )
