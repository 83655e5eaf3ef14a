"""What serves a request for a login: an active session, a live login that is joined, or a new row.

One person has one login under way. A second request for the same account joins the first one; a request of the same end user
that is not for the same account (or not known to be) cancels it: the newest is the one that somebody looks at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnExpressionArgument, Integer, bindparam, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.core import Core
from app.errors import Conflict, InvalidInput, RateLimited
from app.ids import hash_secret, new_id, new_secret
from app.logins.secrets import client_secret_place, phone_place
from app.logins.store import DISPATCH_GRACE_SECONDS, end_from_outside
from app.models import LIVE_LOGIN_STATUSES, Login, TelegramSession
from app.sessions.store import find_session
from app.settings import Settings
from app.vault.audit import record_event

LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
"""What a login's ``locale`` looks like."""

_ROOM_SECONDS = 10
"""When it is worth another try after too many logins under way: some end all the time."""


_WAITING = select(func.count()).select_from(
    select(Login.id)
    .where(Login.tenant_id == bindparam("tenant_id"), Login.status.in_(LIVE_LOGIN_STATUSES))
    .limit(bindparam("most", type_=Integer))
    .subquery()
)
"""How many logins a tenant has under way, ``most`` at most."""


_ADD = insert(Login).on_conflict_do_nothing().returning(Login)
"""Adds a login; made once, with its values as parameters: to make it anew each time takes longer than to add the row."""


@dataclass(frozen=True, kw_only=True)
class NewLogin:
    """What the caller asked for, already checked.

    ``telegram_user_id`` is who is expected to scan, None: anybody. ``end_user_id`` is the tenant's own name for the person.
    ``session_id`` makes it a re-login of that session. ``phone`` (international, digits with a plus) goes with method ``code``
    only. ``redirect_url`` and ``origin`` are on the tenant's lists.
    """

    telegram_user_id: int | None = None
    end_user_id: str | None = None
    session_id: str | None = None
    method: Literal["qr", "code"] = "qr"
    phone: str | None = field(default=None, repr=False)
    replace: bool = False
    locale: str | None = None
    redirect_url: str | None = None
    origin: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    # Asked for by nobody who looks at it: it joins what is under way for the account, and cancels nothing.
    automatic: bool = False
    repeats_login_id: str | None = None
    api_key_id: str | None = None
    # How the audit names whoever asked without an API key.
    actor: str = "latchkey"


class Served(NamedTuple):
    """The row that serves a request, whether it was made for it, and the logins that it cancelled."""

    login: Login
    fresh: bool
    cancelled: Sequence[Login] = ()


def serve_login(core: Core, db: DatabaseSession, *, tenant_id: str, request: NewLogin) -> Served:
    """Find or add the login that serves a request, in the caller's transaction (``app.vault.transact``'s: it seals).

    Raises:
        NotFound: there is no such session to log in again for.
        Conflict: ``session_not_active``: it was revoked.
        RateLimited: the tenant has ``MAX_WAITING_LOGINS`` under way.
        InvalidInput: it is another account's or another end user's.
        KeyNotAtHand: see there.
    """
    request = _complete(db, tenant_id=tenant_id, request=request)
    _lock_person(db, tenant_id=tenant_id, request=request)
    values = _new_row(core, tenant_id, request, reused_session_id=_serving_session(db, tenant_id, request))
    cancelled: list[Login] = []
    while True:
        if values["session_id"] is None:
            joined = _joined(db, tenant_id, request)
            if joined is not None:
                return Served(joined, fresh=False)
            cancelled += _cancel_live(db, tenant_id, request)
            _check_room(core.settings, db, tenant_id)
        inserted = db.scalar(_ADD, values)
        if inserted is not None:
            _record_start(db, inserted, request)
            return Served(inserted, fresh=True, cancelled=cancelled)


def _record_start(db: DatabaseSession, login: Login, request: NewLogin) -> None:
    record_event(
        db,
        tenant_id=login.tenant_id,
        actor=f"api-key:{request.api_key_id}" if request.api_key_id else request.actor,
        action="login.reused" if login.reused else "login.started",
        subject=login.id,
        details={"method": login.method} | ({"session_id": request.session_id} if request.session_id else {}),
    )


def _complete(db: DatabaseSession, *, tenant_id: str, request: NewLogin) -> NewLogin:
    """Fill in what a re-login's session says: whose it is."""
    if request.session_id is None:
        return request
    row = find_session(db, tenant_id=tenant_id, session_id=request.session_id)
    if row.status in ("revoking", "revoked"):
        raise Conflict("This session was revoked; start a login without session_id.", code="session_not_active")
    for name in ("telegram_user_id", "end_user_id"):
        asked, kept = getattr(request, name), getattr(row, name)
        if None not in (asked, kept) and asked != kept:
            raise InvalidInput(f"Check {name}.", errors=((name, "is not the one of this session; leave it out"),))
    members = request.__dict__ | {
        "telegram_user_id": row.telegram_user_id or request.telegram_user_id,
        "end_user_id": row.end_user_id or request.end_user_id,
    }
    return NewLogin(**members)


def _check_room(settings: Settings, db: DatabaseSession, tenant_id: str) -> None:
    """Leave the workers room for other tenants. Those that come at the same moment may be let in together.

    Raises:
        RateLimited: the tenant has as many logins under way as it may have.
    """
    most = settings.max_waiting_logins
    if db.connection().execute(_WAITING, {"tenant_id": tenant_id, "most": most}).scalar_one() >= most:
        raise RateLimited(
            f"{most} logins of yours are under way; wait until some have ended, or cancel some.",
            retry_after_seconds=_ROOM_SECONDS,
        )


def _lock_person(db: DatabaseSession, *, tenant_id: str, request: NewLogin) -> None:
    """Make requests for the same person wait for each other: two must not both find nothing under way."""
    for kind, value in (("end-user", request.end_user_id), ("telegram-user", request.telegram_user_id)):
        if value is not None:
            db.execute(
                text("SELECT pg_advisory_xact_lock(hashtextextended(:person, 1))"),
                {"person": f"{tenant_id}/{kind}/{value}"},
            )


def _serving_session(db: DatabaseSession, tenant_id: str, request: NewLogin) -> str | None:
    """The active session that makes a scan needless, if there is one; never one of another end user's."""
    if request.telegram_user_id is None or request.replace or request.session_id is not None:
        return None
    query = select(TelegramSession.id).where(
        TelegramSession.tenant_id == tenant_id,
        TelegramSession.telegram_user_id == request.telegram_user_id,
        TelegramSession.status == "active",
    )
    if request.end_user_id is not None:
        anybody_or_them = or_(TelegramSession.end_user_id.is_(None), TelegramSession.end_user_id == request.end_user_id)
        query = query.where(anybody_or_them)
    return db.scalar(query)


def _joined(db: DatabaseSession, tenant_id: str, request: NewLogin) -> Login | None:
    """The live login of the same account that serves this request as well."""
    if request.telegram_user_id is None:
        return None
    query = select(Login).where(
        Login.tenant_id == tenant_id,
        Login.telegram_user_id == request.telegram_user_id,
        Login.status.in_(LIVE_LOGIN_STATUSES),
    )
    if not request.automatic:
        query = query.where(
            Login.end_user_id.is_not_distinct_from(request.end_user_id),
            Login.relogin_session_id.is_not_distinct_from(request.session_id),
        )
    return db.scalar(query)


def _cancel_live(db: DatabaseSession, tenant_id: str, request: NewLogin) -> list[Login]:
    """Cancel the live logins of the same person that do not serve this request."""
    same: list[ColumnExpressionArgument[bool]] = []
    if request.end_user_id is not None:
        same.append(Login.end_user_id == request.end_user_id)
    if request.telegram_user_id is not None:
        same.append(Login.telegram_user_id == request.telegram_user_id)
    if not same:
        return []
    live = db.scalars(
        select(Login.id).where(Login.tenant_id == tenant_id, Login.status.in_(LIVE_LOGIN_STATUSES), or_(*same))
    ).all()
    ended = (end_from_outside(db, login_id=login_id, status="cancelled") for login_id in live)
    return [login for login in ended if login is not None]


def _new_row(core: Core, tenant_id: str, request: NewLogin, *, reused_session_id: str | None) -> dict[str, Any]:
    login_id, secret, now = new_id("lgn"), new_secret("ls"), utc_now()
    sealed = core.keyring.seal(client_secret_place(tenant_id, login_id), secret.encode())
    phone_sealed = (
        seal_phone(core, tenant_id=tenant_id, login_id=login_id, key_id=sealed.key_id, phone=request.phone)
        if request.phone is not None
        else None
    )
    return {
        "id": login_id,
        "tenant_id": tenant_id,
        "telegram_user_id": request.telegram_user_id,
        "end_user_id": request.end_user_id,
        "relogin_session_id": request.session_id,
        "repeats_login_id": request.repeats_login_id,
        "redirect_url": request.redirect_url,
        "origin": request.origin,
        "api_key_id": request.api_key_id,
        "method": request.method,
        "status": "authorized" if reused_session_id else "queued",
        "reused": reused_session_id is not None,
        "session_id": reused_session_id,
        "replace": request.replace,
        "locale": request.locale,
        "client_metadata": request.metadata,
        "client_secret_hash": hash_secret(secret),
        "client_secret_sealed": sealed.ciphertext,
        "phone_sealed": phone_sealed,
        "key_id": sealed.key_id,
        **_times(core.settings, now, ended=reused_session_id is not None),
    }


def _times(settings: Settings, now: datetime, *, ended: bool) -> dict[str, datetime | None]:
    return {
        "created_at": now,
        "updated_at": now,
        "expires_at": now + timedelta(seconds=settings.qr_ttl_seconds),
        "finished_at": now if ended else None,
        "next_dispatch_at": now + timedelta(seconds=DISPATCH_GRACE_SECONDS),
    }


def seal_phone(core: Core, *, tenant_id: str, login_id: str, key_id: str, phone: str) -> bytes:
    """Seal the number that a code goes to, as the worker expects it: no code was sent yet."""
    place = phone_place(tenant_id, login_id)
    return core.keyring.seal_under_key(key_id, place, json.dumps([phone, None]).encode())
