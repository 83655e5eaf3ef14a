"""The tasks of keys: rotate them when their time has come, and go on where the last run stopped; help with that."""

from __future__ import annotations

from datetime import timedelta

from app.errors import AppError
from app.identities import seal_what_is_open
from app.logs import get_logger
from app.periodic import one_at_a_time
from app.vault.rotation import help_rotation
from app.vault.rotation import rotate_keys as rotate
from tasks.bootsteps import parts
from tasks.celery_app import celery_app
from tasks.periodic import periodic_task

_LIMIT_SECONDS = 1800.0
_HELP_TASK = "latchkey.help_rotation"

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
        call_help=lambda: core.dispatch(_HELP_TASK),
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


@celery_app.task(name=_HELP_TASK, ignore_result=True)
def help_with_rotation() -> None:
    """See ``app.vault.rotation``. Nothing depends on it: the rotation that asked for help does whatever is left."""
    core = parts.core
    try:
        with one_at_a_time(core.redis, _HELP_TASK) as mine:
            if mine:
                rows = help_rotation(transaction=core.transaction, keyring=core.keyring, limit_seconds=_LIMIT_SECONDS)
                _log.info("keys.helped", resealed=rows)
    except AppError as exc:
        _log.warning("keys.help_ended", code=exc.code, detail=exc.detail)
