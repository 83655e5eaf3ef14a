"""The tasks of logins: drive one, and sweep for those that nobody drives."""

from __future__ import annotations

import threading
from typing import Any

from app.brokers import BROKER_ERRORS
from app.correlation import message_headers
from app.errors import AppError, Unavailable
from app.logins.log_out_key import LOG_OUT_KEY_TASK, log_out_key, sweep_leaving_keys
from app.logins.origin import correlate_login
from app.logins.sweep import resume_orphaned_logins as sweep
from app.logs import get_logger
from tasks.bootsteps import parts
from tasks.celery_app import celery_app
from tasks.periodic import periodic_task

_log = get_logger(__name__)

# More than a thousand threads that publish at once would ask for more connections than the broker's client gives out.
_handing_over = threading.BoundedSemaphore(8)
_broker_is_away = threading.Event()


@celery_app.task(bind=True, name="latchkey.run_qr_login", max_retries=None, ignore_result=True)
def run_qr_login(self: Any, login_id: str) -> None:
    """Drive a login; see ``app.logins.run``. A flood wait frees the thread, a leaving worker sends the login on."""
    correlate_login(parts.core, login_id)
    try:
        outcome = parts.logins.run(login_id)
    except AppError as exc:
        _log.warning("login.left_to_the_sweep", login_id=login_id, code=exc.code, detail=exc.detail)
        return
    if outcome.name == "put_off":
        raise self.retry(countdown=outcome.retry_seconds)
    if outcome.name == "handed_over":
        # The same id: to Flower and the exporter it is the same task that goes on elsewhere.
        _send_on(self, login_id)


def _send_on(task: Any, login_id: str) -> None:
    # A broker that is away must not keep a leaving worker: one failure speaks for all, and the sweep finds these logins.
    with _handing_over:
        if _broker_is_away.is_set():
            return
        try:
            task.apply_async(args=(login_id,), task_id=task.request.id, headers=message_headers(), retry=False)
        except BROKER_ERRORS as exc:
            _broker_is_away.set()
            _log.warning("logins.broker_away", error=type(exc).__name__)


@periodic_task("latchkey.resume_orphaned_logins")
def resume_orphaned_logins() -> None:
    """See ``app.logins.sweep``."""
    sweep(parts.core)


@periodic_task("latchkey.log_out_auth_keys")
def log_out_auth_keys() -> None:
    """Send a task for each auth key that a login left behind and whose turn it is."""
    sweep_leaving_keys(parts.core)


@celery_app.task(name=LOG_OUT_KEY_TASK, ignore_result=True)
def log_out_auth_key(leaving_id: str) -> None:
    """Log out one of them; see ``app.logins.log_out_key``."""
    try:
        parts.telegram.runtime.run(log_out_key(parts.core, parts.telegram, leaving_id))
    except Unavailable as exc:
        _log.warning("log_out.left_to_the_sweep", leaving_id=leaving_id, detail=exc.detail)
