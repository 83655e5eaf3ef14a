"""The sweep: sends again what should be moving and is not, and ends what has outlived its life.

A lost message, a flushed Redis or a killed worker so costs seconds and never a login; and no login lives for ever.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from redis.exceptions import RedisError

from app.clock import utc_now
from app.core import Core
from app.errors import Unavailable
from app.logins.keeper import LOCK_SECONDS
from app.logins.start import RUN_TASK
from app.logins.store import due_for_dispatch, end_from_outside, look_again, mark_dispatched
from app.logs import get_logger
from app.models import Login
from app.redis_state import LOGIN_CHANNEL, REDIS_FIRST_SEEN_KEY, encode_login_hint, login_lock_key

_BATCH = 1000
_LATE_WORKER = timedelta(seconds=60)
"""How long after its life a login is still left to a worker that comes late: its scan may have been before the end."""
_HELD_TOO_LONG = timedelta(seconds=300)
"""How long after its life a login may still be held by a worker that cannot end it."""

_REDIS_AGE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1], now, 'NX')
return now - redis.call('GET', KEYS[1])
"""

_log = get_logger(__name__)


def resume_orphaned_logins(core: Core) -> int:
    """Send every login that is due and that no worker holds; end those that outlived their life.

    A login is due when its last message was sent (or its worker last seen) long enough ago: see ``next_dispatch_at``.

    Returns:
        How many were sent.

    Raises:
        Unavailable: PostgreSQL or Redis is away; the next sweep does it.
    """
    now, untold_ms = utc_now(), _untold_ms(core)
    with core.transaction() as db:
        due = due_for_dispatch(db, now=now, limit=_BATCH)
    if not due:
        return 0
    held = _perhaps_held_for(due, untold_ms=untold_ms) | _held_for(core, due)
    overdue = [login for login in due if _is_overdue(login, held=login.id in held, now=now)]
    ids = {login.id for login in overdue}
    orphaned = [login.id for login in due if login.id not in ids and login.id not in held]
    with core.transaction() as db:
        mark_dispatched(db, orphaned, now=now)
    _look_again_at_held(core, {login_id: ends for login_id, ends in held.items() if login_id not in ids}, now=now)
    for login_id in orphaned:
        core.dispatch(RUN_TASK, login_id)
    if orphaned:
        _log.info("logins.resumed", logins=len(orphaned))
    for login in overdue:
        _end_overdue(core, login)
    return len(orphaned)


def _held_for(core: Core, logins: Sequence[Login]) -> dict[str, float]:
    """For how many seconds the locks of logins still live, by id; those without a lock are left out."""
    try:
        with core.redis.pipeline(transaction=False) as pipeline:
            for login in logins:
                pipeline.pttl(login_lock_key(login.id))
            lives = pipeline.execute()
    except RedisError as exc:
        raise Unavailable("Redis cannot be asked which logins are held.") from exc
    return {login.id: life / 1000 for login, life in zip(logins, lives, strict=True) if life > 0}


def _untold_ms(core: Core) -> int:
    """For how many ms Redis cannot say yet who holds a login.

    One that has just lost everything knows no locks, and the workers that drive those logins put theirs back within seconds:
    until a lock's life has passed, a missing one says nothing.
    """
    try:
        age_ms = int(core.redis.eval(_REDIS_AGE, 1, REDIS_FIRST_SEEN_KEY))
    except RedisError as exc:
        raise Unavailable("Redis cannot be asked which logins are held.") from exc
    return max(0, int(LOCK_SECONDS * 1000) - age_ms)


def _perhaps_held_for(logins: Sequence[Login], *, untold_ms: int) -> dict[str, float]:
    """For how many seconds nobody can say whether those logins are held that a worker took, by id."""
    taken = [login.id for login in logins if login.owner is not None] if untold_ms else []
    if taken:
        _log.warning("logins.redis_is_new", logins=len(taken), waits_seconds=round(untold_ms / 1000, 1))
    return dict.fromkeys(taken, untold_ms / 1000)


def _look_again_at_held(core: Core, held: dict[str, float], *, now: datetime) -> None:
    """Look at held logins again when the lock would end that they have now, and not before: a living worker renews it."""
    by_second: dict[int, list[str]] = {}
    for login_id, seconds in held.items():
        by_second.setdefault(int(seconds) + 1, []).append(login_id)
    with core.transaction() as db:
        for seconds, login_ids in sorted(by_second.items()):
            look_again(db, sorted(login_ids), at=now + timedelta(seconds=seconds))


def _is_overdue(login: Login, *, held: bool, now: datetime) -> bool:
    return now > login.expires_at + (_HELD_TOO_LONG if held else _LATE_WORKER)


def _end_overdue(core: Core, login: Login) -> None:
    """End a login that no worker has ended. One that nobody was ever shown anything of has failed."""
    failed = login.status == "queued"
    status, reason = ("failed", "internal_error") if failed else ("expired", None)
    with core.transaction() as db:
        ended = end_from_outside(db, login_id=login.id, status=status, reason=reason)
    if ended is None:
        return
    labels = {"tenant_id": ended.tenant_id}
    core.metrics.auth_qr_lost.labels(status=login.status, end=status, **labels).inc()
    if failed:
        core.metrics.auth_qr_failed.labels(reason="internal_error", **labels).inc()
    else:
        core.metrics.auth_qr_expired.labels(**labels).inc()
    core.metrics.overdue_logins.inc()
    _log.error("login.overdue", login_id=ended.id, tenant_id=ended.tenant_id, status=status, owner=login.owner)
    with contextlib.suppress(RedisError):  # a hint: readers poll
        core.redis.publish(LOGIN_CHANNEL, encode_login_hint(ended.id, ended.version))
