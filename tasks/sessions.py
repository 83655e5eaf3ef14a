"""The tasks of sessions: plan and do validations, log out what is leaving, retire what nobody uses.

A validation or a log-out may wait for a Telegram that does not answer. Each kind has a few of the worker's threads and no more,
so that the others go on; what finds none free goes back to its sweep at once and waits in PostgreSQL, not in the queue.
"""

from __future__ import annotations

import threading
from datetime import datetime
from functools import partial

from app.errors import Unavailable
from app.logins.again import log_in_again
from app.logs import get_logger
from app.sessions.logging_out import log_out_session as log_out
from app.sessions.planning import plan_validations, put_back
from app.sessions.retiring import retire_idle_sessions as retire
from app.sessions.revocation import leave_to_sweep, sweep_log_outs
from app.sessions.validation import validate_what_is_due
from tasks.bootsteps import parts
from tasks.celery_app import celery_app
from tasks.periodic import periodic_task

_validating = threading.BoundedSemaphore(3)
_logging_out = threading.BoundedSemaphore(3)

_log = get_logger(__name__)


@periodic_task("latchkey.validate_sessions")
def validate_sessions() -> None:
    """See ``app.sessions.planning``."""
    plan_validations(parts.core)


@celery_app.task(name="latchkey.validate_session_batch", ignore_result=True)
def validate_session_batch(ticket: str, *session_ids: str) -> None:
    """See ``app.sessions.validation``."""
    due_again_at = datetime.fromisoformat(ticket)
    try:
        if not _validating.acquire(blocking=False):
            put_back(parts.core, session_ids, ticket=due_again_at)
            return
        try:
            parts.telegram.runtime.run(
                validate_what_is_due(
                    parts.core,
                    parts.telegram,
                    session_ids=session_ids,
                    ticket=due_again_at,
                    log_in_again=partial(log_in_again, parts.core),
                )
            )
        finally:
            _validating.release()
    except Unavailable as exc:
        _log.warning("validation.left_to_the_sweep", detail=exc.detail)


@periodic_task("latchkey.log_out_sessions")
def log_out_sessions() -> None:
    """See ``app.sessions.revocation``."""
    sweep_log_outs(parts.core)


@celery_app.task(name="latchkey.log_out_session", ignore_result=True)
def log_out_session(session_id: str) -> None:
    """See ``app.sessions.logging_out``."""
    try:
        if not _logging_out.acquire(blocking=False):
            leave_to_sweep(parts.core, session_id)
            return
        try:
            parts.telegram.runtime.run(log_out(parts.core, parts.telegram, session_id))
        finally:
            _logging_out.release()
    except Unavailable as exc:
        _log.warning("revocation.left_to_the_sweep", session_id=session_id, detail=exc.detail)


@periodic_task("latchkey.retire_idle_sessions")
def retire_idle_sessions() -> None:
    """See ``app.sessions.retiring``."""
    retire(parts.core)
