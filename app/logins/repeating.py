"""Starting again: a login like one that ended without a session, for whoever holds that one's client secret.

In the first hour of the first of them, five at most: the secret of one login must not become a tap for any number.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.core import Core
from app.errors import Conflict, RateLimited
from app.logins.service import Reader, find_readable
from app.logins.serving import NewLogin, Served, serve_login
from app.logins.start import StartedLogin, announce
from app.models import LIVE_LOGIN_STATUSES, Login
from app.tenants.store import get_tenant
from app.vault.transact import transact

MOST_REPEATS = 5
REPEATABLE_FOR = timedelta(hours=1)


class _Asked(NamedTuple):
    """The login that is to be started again, and the first of its kind, whose row is locked."""

    login: Login
    first: Login


def repeat_login(core: Core, *, login_id: str, client_secret: str) -> StartedLogin:
    """Start a login like this one, or answer with the one that was started so already. Commits, then sends the task.

    It begins with the QR code, whatever the first one did: the phone number was erased when that ended.

    Raises:
        NotFound: there is no such login, or the secret is another's.
        Conflict: ``cannot_start_again``: it is still under way, it ended with a session, or its hour is over.
        RateLimited: it was started again ``MOST_REPEATS`` times.
        Unavailable: nothing could be stored.
        SealBroken, KeyUnavailable, Transient: a key is not to be had; nothing was stored.
    """
    served = transact(core.transaction, core.keyring, lambda db: _serve(core, db, login_id, client_secret))
    return announce(core, served, status_code=202)


def _serve(core: Core, db: DatabaseSession, login_id: str, client_secret: str) -> Served:
    asked = _find(db, login_id, client_secret)
    under_way = db.scalar(
        select(Login)
        .where(Login.repeats_login_id == asked.first.id, Login.status.in_(LIVE_LOGIN_STATUSES))
        .order_by(Login.created_at.desc())
        .limit(1)
    )
    if under_way is not None:
        return Served(under_way, fresh=False)
    _check_number(db, asked.first)
    login = asked.login
    request = NewLogin(
        telegram_user_id=login.telegram_user_id,
        end_user_id=login.end_user_id,
        session_id=login.relogin_session_id,
        replace=login.replace,
        locale=login.locale,
        redirect_url=login.redirect_url,
        origin=login.origin,
        metadata=login.client_metadata,
        repeats_login_id=asked.first.id,
        api_key_id=login.api_key_id,
    )
    return serve_login(core, db, tenant_id=login.tenant_id, request=request)


def _find(db: DatabaseSession, login_id: str, client_secret: str) -> _Asked:
    login = find_readable(db, login_id=login_id, reader=Reader(client_secret=client_secret))
    # Two taps at once wait for each other here.
    first = db.get(Login, login.repeats_login_id or login.id, with_for_update=True) or login
    if get_tenant(db, tenant_id=login.tenant_id).disabled_at is not None:
        raise Conflict("The application that this login is for was switched off.", code="tenant_disabled")
    if login.status in LIVE_LOGIN_STATUSES:
        raise Conflict("This login is still under way.", code="cannot_start_again")
    if login.status == "authorized":
        raise Conflict("This login succeeded; there is nothing to start again.", code="cannot_start_again")
    if utc_now() > first.created_at + REPEATABLE_FOR:
        raise Conflict("It is too late to start this login again; ask for a new one.", code="cannot_start_again")
    return _Asked(login, first)


def _check_number(db: DatabaseSession, first: Login) -> None:
    repeats = db.scalar(select(func.count()).select_from(Login).where(Login.repeats_login_id == first.id)) or 0
    if repeats >= MOST_REPEATS:
        left = first.created_at + REPEATABLE_FOR - utc_now()
        raise RateLimited(
            f"This login was started again {MOST_REPEATS} times; ask for a new one.",
            retry_after_seconds=max(1, math.ceil(left.total_seconds())),
        )
