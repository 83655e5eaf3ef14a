"""What callers may ask of a login that is on its way: look, answer, cancel. Starting one is ``app.logins.start``."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from redis.exceptions import RedisError
from sqlalchemy import select

from app.clock import utc_now
from app.core import Core
from app.errors import Conflict, NotFound, SealBroken, Unavailable
from app.ids import hash_secret
from app.logins.again import open_link
from app.logins.secrets import ANSWER_LIFE_SECONDS, RESEND, Answer, open_token, seal_answer
from app.logins.store import end_from_outside, get_login
from app.logins.typed import normalize_code
from app.logins.view import LoginView, QRView, view_login
from app.models import Login
from app.redis_state import INBOX_CHANNEL, LOGIN_CHANNEL, encode_inbox_hint, encode_login_hint, login_qr_key

Allow = Callable[[], None]
"""Lets a call of a known reader pass, or raises ``RateLimited``."""


def always_allow() -> None:
    """For callers that have no limit."""


@dataclass(frozen=True)
class Reader:
    """Who looks: a tenant (by its API key) or whoever holds the login's own client secret. One of the two is set."""

    tenant_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)


def read_login(core: Core, *, login_id: str, reader: Reader) -> LoginView:
    """Show a login with its current QR code.

    Raises:
        NotFound: there is none, it is another tenant's, or the secret is another login's.
        Unavailable: the database is away.
    """
    try:
        with core.transaction() as db:
            login = _readable(get_login(db, login_id=login_id, tenant_id=reader.tenant_id), reader)
    except NotFound:
        # A link of a webhook begins its login when it is opened.
        if reader.client_secret is None:
            raise
        opened = open_link(core, login_id=login_id, client_secret=reader.client_secret)
        if opened is None:
            raise
        login = _readable(opened, reader)
    return show_login(core, login)


def show_login(core: Core, login: Login) -> LoginView:
    """Show a row with its current QR code, if it has one. The caller has checked who looks."""
    return view_login(login, qr=_current_qr(core, login) if login.status == "waiting_for_scan" else None)


def read_locale(core: Core, *, login_id: str) -> str | None:
    """The language that the caller asked the hosted page to speak; anybody may know it. None: not said, or no login.

    Raises:
        Unavailable: the database is away.
    """
    with core.transaction() as db:
        return db.scalar(select(Login.locale).where(Login.id == login_id))


def submit_password(
    core: Core, *, login_id: str, reader: Reader, password: str, allow: Allow = always_allow
) -> LoginView:
    """Hand a 2FA password to the worker: sealed, one shot, gone after 60 s. It stays byte for byte what was typed.

    Args:
        allow: asked once the reader is known to be one; raises when nothing more may be typed now.

    Raises:
        Conflict: ``not_waiting_for_password``.
        NotFound, Unavailable: as in ``read_login``.
    """
    login = _read_allowed(core, login_id, reader, allow)
    return _submit(core, login, what="password", text=password)


def submit_code(core: Core, *, login_id: str, reader: Reader, code: str, allow: Allow = always_allow) -> LoginView:
    """Hand a login code to the worker, as ``submit_password`` does, in the form that Telegram sent it in.

    Raises:
        InvalidInput: it cannot be the code that was sent; no attempt is lost.
        Conflict: ``not_waiting_for_code``.
        NotFound, Unavailable: as in ``read_login``.
    """
    login = _read_allowed(core, login_id, reader, allow)
    sent = login.code or {}
    if login.status == "code_required":
        code = normalize_code(code, delivery=sent.get("delivery", "app"), length=sent.get("length"))
    return _submit(core, login, what="code", text=code)


def resend_code(core: Core, *, login_id: str, reader: Reader, allow: Allow = always_allow) -> LoginView:
    """Ask for the login code to be sent once more, by Telegram's next way of delivery.

    Raises:
        Conflict: ``not_waiting_for_code``.
        NotFound, Unavailable: as in ``read_login``.
    """
    login = _read_allowed(core, login_id, reader, allow)
    return _submit(core, login, what="code", text=RESEND)


def cancel_login(core: Core, *, login_id: str, reader: Reader) -> LoginView:
    """Cancel a live login. Its worker, or the sweep if none is there, logs its auth key out at Telegram.

    Raises:
        Conflict: ``login_final``.
        NotFound, Unavailable: as in ``read_login``.
    """
    with core.transaction() as db:
        login = _readable(get_login(db, login_id=login_id, tenant_id=reader.tenant_id), reader)
        ended = end_from_outside(db, login_id=login.id, status="cancelled")
        if ended is None:
            raise Conflict("This login is over already; look at its status.", code="login_final")
    _hint(core, ended, inbox="cancelled")
    return show_login(core, ended)


def _read_allowed(core: Core, login_id: str, reader: Reader, allow: Allow) -> Login:
    with core.transaction() as db:
        login = _readable(get_login(db, login_id=login_id, tenant_id=reader.tenant_id), reader)
    allow()
    return login


def _submit(core: Core, login: Login, *, what: Literal["password", "code"], text: str) -> LoginView:
    if login.status != f"{what}_required":
        raise Conflict(f"This login does not wait for a {what}; look at its status.", code=f"not_waiting_for_{what}")
    key, value = seal_answer(
        core.keyring,
        tenant_id=login.tenant_id,
        login_id=login.id,
        what=what,
        answer=Answer(text=text, attempts_left=_attempts_left(login)),
    )
    try:
        core.redis.set(key, value, ex=ANSWER_LIFE_SECONDS)
        core.redis.publish(INBOX_CHANNEL, encode_inbox_hint(login.id, what))
    except RedisError as exc:
        raise Unavailable("The answer could not be passed on; try again.") from exc
    return show_login(core, login)


def _attempts_left(login: Login) -> int:
    if login.status == "code_required":
        return int((login.code or {}).get("attempts_left", 0))
    return login.password_attempts_left or 0


def _readable(login: Login, reader: Reader) -> Login:
    if reader.tenant_id is not None:
        return login
    # In constant time, so that a secret cannot be guessed byte by byte.
    if reader.client_secret is None or not hmac.compare_digest(
        hash_secret(reader.client_secret), login.client_secret_hash
    ):
        raise NotFound("There is no such login.")
    return login


def _current_qr(core: Core, login: Login) -> QRView | None:
    try:
        value = core.redis.get(login_qr_key(login.id))
    except RedisError:
        return None  # the next publication brings it back
    if not isinstance(value, bytes):
        return None
    try:
        token = open_token(core.keyring, tenant_id=login.tenant_id, login_id=login.id, value=value)
    except SealBroken:
        return None
    return QRView(url=token.url, expires_at=token.expires_at) if token.expires_at > utc_now() else None


def _hint(core: Core, login: Login, *, inbox: str) -> None:
    try:
        core.redis.publish(LOGIN_CHANNEL, encode_login_hint(login.id, login.version))
        core.redis.publish(INBOX_CHANNEL, encode_inbox_hint(login.id, inbox))
    except RedisError:
        pass  # hints: readers poll, and the worker looks at its rows every few seconds
