"""The sweep: sends again what should be moving and is not.

A lost message, a flushed Redis or a killed worker so costs seconds and never a login.
"""

from __future__ import annotations

from datetime import timedelta

from redis.exceptions import RedisError

from app.clock import utc_now
from app.core import Core
from app.errors import Unavailable
from app.logins.keeper import LOCK_SECONDS
from app.logins.start import RUN_TASK
from app.logins.store import due_for_dispatch, mark_dispatched, put_off
from app.logs import get_logger
from app.redis_state import login_lock_key

_BATCH = 1000
_HELD_SECONDS = 2.0  # look again that soon at a login that a worker holds

_log = get_logger(__name__)


def resume_orphaned_logins(core: Core) -> int:
    """Send every login that is due and that no worker holds.

    A login is due when its last message was sent (or its worker last seen) long enough ago: see ``next_dispatch_at``.

    Returns:
        How many were sent.

    Raises:
        Unavailable: PostgreSQL or Redis is away; the next sweep does it.
    """
    now = utc_now()
    with core.transaction() as db:
        due = due_for_dispatch(db, now=now, limit=_BATCH)
    if not due:
        return 0
    try:
        held = core.redis.mget([login_lock_key(login_id) for login_id in due])
    except RedisError as exc:
        raise Unavailable("Redis cannot be asked which logins are held.") from exc
    assert isinstance(held, list)
    orphaned = [login_id for login_id, token in zip(due, held, strict=True) if token is None]
    with core.transaction() as db:
        put_off(db, sorted(set(due) - set(orphaned)), until=now + timedelta(seconds=_HELD_SECONDS))
        mark_dispatched(db, orphaned, now=now)
    for login_id in orphaned:
        core.dispatch(RUN_TASK, login_id)
    if orphaned:
        _log.info("logins.resumed", logins=len(orphaned), lock_seconds=LOCK_SECONDS)
    return len(orphaned)
