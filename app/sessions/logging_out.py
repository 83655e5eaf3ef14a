"""Logging a leaving session out at Telegram, on its own key; that always works, also in a login's first 24 hours.

The decision, for one session:

1. Take its lease. Somebody holds it still: come back when that ends (see ``app.sessions.revocation``).
2. Another session has the same auth key (a dead session's string that was imported anew): the authorization is that one's,
   and only the ciphertext here goes.
3. ``auth.logOut``; an answer that the key is not authorized (any more) is as good.
4. Ask on a new connection whose the key is. Only when Telegram does not know is it true. Telegram says falsely at times that it
   does not know a key (AUTH_KEY_UNREGISTERED): when both calls are answered so, that is one denial, and three are believed.
5. Erase the ciphertext: it was the one thing that could end the authorization. Tell the tenant.
6. Anything else: come back later, each time after a longer pause.
"""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from sqlalchemy import ColumnElement, case, func, update
from sqlalchemy.orm import Session as DatabaseSession
from telethon.tl.functions.auth import LogOutRequest
from telethon.tl.functions.users import GetUsersRequest
from telethon.tl.types import InputUserSelf

from app.core import Core
from app.errors import AppError, Conflict, FloodWait, SealBroken, Transient
from app.idempotency import forget_answers
from app.logs import get_logger
from app.models import TelegramSession
from app.sessions.events import queue_session_event
from app.sessions.holding import HeldSession, claim_auth_key, hold_session, release_session
from app.sessions.store import NO_LEASE, OWN_HOLDER_PREFIX, database_now, release_held
from app.sessions.verdicts import ERASED
from app.sessions.visit import Visit
from app.telegram.errors import NotAuthorized, PasswordNeeded
from app.telegram.process import TelegramParts
from app.vault.audit import record_event
from app.vault.wrapping import KeyUnavailable

LogOut = Literal["done", "not_pending", "leased", "put_off"]
"""What a try came to."""

BELIEVED_DENIALS = 3
"""With the pauses between tries that is twenty seconds; a false denial lasts for seconds."""

_LEAVING = ("revoking", "replaced")
_HOLDER = OWN_HOLDER_PREFIX + "revocation"
_VISIT_SECONDS = 40.0
_PAUSES_SECONDS = (5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
_KEY_AWAY_SECONDS = 300.0

_FORGOTTEN: dict[str, object] = dict.fromkeys(("username", "first_name", "phone_masked"))
"""Who the session was of, as people would recognise it: a session that has ended needs none of it."""

_log = get_logger(__name__)


async def log_out_session(core: Core, telegram: TelegramParts, session_id: str) -> LogOut:
    """Log a leaving session out, verify that, and erase it. May be repeated, by any number of workers.

    Raises:
        Unavailable: PostgreSQL is away; the sweep sends it again.
    """
    in_thread = telegram.runtime.in_thread
    try:
        held = await in_thread(_hold, core, session_id)
    except (KeyUnavailable, Transient) as exc:
        _log.warning("revocation.put_off", session_id=session_id, code=exc.code, detail=exc.detail)
        return await in_thread(_come_back, core, session_id, seconds=_KEY_AWAY_SECONDS)
    except SealBroken as exc:
        # Its key may come back (a KMS grant, a restored key row); without it nothing can be logged out.
        _log.error("revocation.seal_broken", session_id=session_id, detail=exc.detail)
        return await in_thread(_come_back, core, session_id, seconds=_PAUSES_SECONDS[-1])
    except Conflict:
        return await in_thread(_finish_erased, core, session_id)
    if held is None:
        return await in_thread(_come_back_after_lease, core, session_id)
    try:
        if not await in_thread(claim_auth_key, core, held):
            return await in_thread(_finish, core, held, action="session.erased")
        tried = await _try(core, telegram, held)
        if tried.logged_out or (tried.denied and held.row.denials + 1 >= BELIEVED_DENIALS):
            return await in_thread(_finish, core, held, action="session.logged_out")
        return await in_thread(_fail, core, held, tried)
    except BaseException:
        await in_thread(release_session, core, held)
        raise


def _hold(core: Core, session_id: str) -> HeldSession | None:
    return hold_session(
        core,
        session_id=session_id,
        holder=_HOLDER,
        reason="revocation",
        statuses=_LEAVING,
        conditions=(TelegramSession.logout_pending,),
    )


class _Tried(NamedTuple):
    """What a try came to: ``logged_out``, and verified; ``denied``: Telegram knows nothing of the key; neither: still to do.

    ``wait_seconds`` is how long to wait at least before another try.
    """

    logged_out: bool = False
    denied: bool = False
    wait_seconds: float = 0.0


async def _try(core: Core, telegram: TelegramParts, held: HeldSession) -> _Tried:
    try:
        async with asyncio.timeout(min(_VISIT_SECONDS, held.left_seconds())), Visit(core, telegram, held) as visit:
            return await _log_out(visit)
    except FloodWait as exc:
        return _Tried(wait_seconds=telegram.floods.countdown(exc.wait_seconds))
    except (AppError, TimeoutError) as exc:
        if not isinstance(exc, Transient | TimeoutError):
            _log.warning("revocation.refused", session_id=held.row.id, detail=str(exc))
        return _Tried()


async def _log_out(visit: Visit) -> _Tried:
    # It may have ended before: by the phone, by an earlier try whose answer was lost, or with the account.
    doubtful = False
    try:
        await visit.call(LogOutRequest())
    except NotAuthorized as exc:
        doubtful = exc.ambiguous
    await visit.close()
    try:
        await visit.call(GetUsersRequest([InputUserSelf()]))
    except NotAuthorized as exc:
        denied = doubtful and exc.ambiguous
        return _Tried(logged_out=not denied, denied=denied)
    except PasswordNeeded:
        return _Tried(logged_out=True)
    return _Tried()


def _finish(core: Core, held: HeldSession, *, action: str) -> LogOut:
    with core.transaction() as db:
        row = release_held(
            db,
            session_id=held.row.id,
            lease_id=held.lease_id,
            conditions=(TelegramSession.logout_pending,),
            **_ended(),
        )
        if row is None:
            return "put_off"
        _tell(core, db, row, action=action)
    return "done"


def _finish_erased(core: Core, session_id: str) -> LogOut:
    """Nothing is sealed (any more), so there is nothing to log out with: an import that was refused, say."""
    with core.transaction() as db:
        row = db.scalar(
            update(TelegramSession)
            .where(
                TelegramSession.id == session_id,
                TelegramSession.logout_pending,
                TelegramSession.session_sealed.is_(None),
            )
            .values(**_ended(), **NO_LEASE)
            .returning(TelegramSession)
            .execution_options(synchronize_session=False, populate_existing=True)
        )
        if row is None:
            return "not_pending"
        _tell(core, db, row, action="session.erased")
    return "done"


def _ended() -> dict[str, object]:
    status = case((TelegramSession.status == "revoking", "revoked"), else_=TelegramSession.status)
    return (
        ERASED
        | _FORGOTTEN
        | {
            "status": status,
            "version": TelegramSession.version + 1,
            "updated_at": database_now(),
            "logout_pending": False,
            "next_logout_at": None,
        }
    )


def _tell(core: Core, db: DatabaseSession, row: TelegramSession, *, action: str) -> None:
    forget_answers(db, subject=row.id)
    record_event(
        db,
        tenant_id=row.tenant_id,
        actor=core.actor,
        action=action,
        subject=row.id,
        reason=row.reason or row.status,
    )
    if row.status == "revoked":
        queue_session_event(db, "session.revoked", row)


def _fail(core: Core, held: HeldSession, tried: _Tried) -> LogOut:
    pause = _PAUSES_SECONDS[min(held.row.logout_tries, len(_PAUSES_SECONDS) - 1)]
    seconds = max(pause * random.uniform(0.8, 1.2), tried.wait_seconds)  # noqa: S311  # spreads load only
    release_session(
        core,
        held,
        logout_tries=TelegramSession.logout_tries + 1,
        denials=TelegramSession.denials + int(tried.denied),
        next_logout_at=database_now() + timedelta(seconds=seconds),
    )
    _log.info("revocation.next_try", session_id=held.row.id, tries=held.row.logout_tries + 1, seconds=round(seconds, 1))
    return "put_off"


def _come_back(core: Core, session_id: str, *, seconds: float) -> LogOut:
    _postpone(core, session_id, until=database_now() + timedelta(seconds=seconds))
    return "put_off"


def _come_back_after_lease(core: Core, session_id: str) -> LogOut:
    leased = _postpone(core, session_id, until=func.greatest(TelegramSession.lease_expires_at, database_now()))
    return "leased" if leased else "not_pending"


def _postpone(core: Core, session_id: str, *, until: ColumnElement[datetime]) -> bool:
    with core.transaction() as db:
        postponed = db.scalar(
            update(TelegramSession)
            .where(TelegramSession.id == session_id, TelegramSession.logout_pending)
            .values(next_logout_at=until)
            .returning(TelegramSession.id)
        )
    return postponed is not None
