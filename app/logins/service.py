"""What callers may ask of a login that is on its way: look, answer, cancel. Starting one is ``app.logins.start``."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any, Literal, cast

from redis.exceptions import RedisError
from sqlalchemy import Row, select
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.core import Core
from app.database import KEYS
from app.errors import Conflict, NotFound, SealBroken, Unavailable
from app.ids import hash_secret
from app.logins.again import open_link
from app.logins.secrets import ANSWER_LIFE_SECONDS, RESEND, Answer, open_phone_number, open_token, seal_answer
from app.logins.store import end_from_outside, get_login
from app.logins.typed import normalize_code
from app.logins.view import SHOWN_COLUMNS, AccountView, LoginView, QRView, view_login
from app.models import Login, TelegramSession
from app.redis_state import (
    INBOX_CHANNEL,
    LOGIN_CHANNEL,
    ReadValue,
    encode_inbox_hint,
    encode_login_hint,
    login_qr_key,
)
from app.vault.keyring import KeyRing

SECRET_LIFE_AFTER_END = timedelta(hours=1)
"""How long a login's own secret still shows it after its end."""

_SHOWN_ROW = select(
    Login.id,
    Login.tenant_id,
    Login.client_secret_hash,
    Login.finished_at,
    *(getattr(Login, name).label(name) for name in SHOWN_COLUMNS if name != "id"),
).where(Login.id == KEYS)

Allow = Callable[[], None]
"""Lets an answer pass, or raises ``RateLimited``. Asked last: what is refused anyway counts against nobody."""


def always_allow() -> None:
    """For callers that have no limit."""


@dataclass(frozen=True)
class Reader:
    """Who looks: a tenant (by its API key) or whoever holds the login's own client secret. One of the two is set.

    ``actor`` is how the audit names a tenant's key. ``identify`` says whose an API key is, in the transaction that reads the
    login, so that one serves for both; it raises ``Unauthenticated`` or ``Forbidden``.
    """

    tenant_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    actor: str | None = None
    identify: Callable[[DatabaseSession], str] | None = field(default=None, repr=False)


def read_login(core: Core, *, login_id: str, reader: Reader) -> LoginView:
    """Show a login with its current QR code.

    Raises:
        NotFound: there is none, it is another tenant's, or the secret is another login's, or has faded.
        Unavailable: the database is away.
    """
    return read_login_of(core, login_id=login_id, reader=reader)[0]


def read_login_of(core: Core, *, login_id: str, reader: Reader) -> tuple[LoginView, str]:
    """As ``read_login``, and whose it is: the tenant's id."""
    assert reader.identify is None  # whoever answers a login is identified with it, in a transaction
    try:
        login = _readable(_read_row(core, login_id, reader), reader, tenant_id=reader.tenant_id)
    except NotFound:
        # A link of a webhook begins its login when it is opened.
        if reader.client_secret is None:
            raise
        opened = open_link(core, login_id=login_id, client_secret=reader.client_secret)
        if opened is None:
            raise
        login = _readable(opened, reader, tenant_id=None)
    return show_login(core, login, reader=reader), login.tenant_id


def find_readable(db: DatabaseSession, *, login_id: str, reader: Reader) -> Login:
    """Read a login's row for somebody who may.

    Raises:
        NotFound: there is none, it is another tenant's, or the secret is another login's.
    """
    tenant_id = reader.identify(db) if reader.identify is not None else reader.tenant_id
    return _readable(get_login(db, login_id=login_id, tenant_id=tenant_id), reader, tenant_id=tenant_id)


def read_shown_rows(core: Core, login_ids: list[str]) -> dict[str, Login]:
    """Read what ``show_login`` looks at, of those logins that there are; who may look is for the caller to check.

    Raises:
        Unavailable: the database is away.
    """
    return {login_id: _as_login(row) for login_id, row in core.read_rows(_SHOWN_ROW, login_ids).items()}


def show_login(
    core: Core, login: Login, *, reader: Reader | None = None, read_value: ReadValue | None = None
) -> LoginView:
    """Show a row with its current QR code, if it has one. The caller has checked who looks.

    Args:
        reader: who; what is the tenant's own business is not shown to whoever has the login's secret. None: the tenant.
        read_value: reads the sealed token from Redis; None: the core's.
    """
    shown = view_login(
        login,
        qr=_current_qr(core, login, read_value or core.read_value) if login.status == "waiting_for_scan" else None,
        account=_connected_account(core, login) if login.session_id is not None else None,
    )
    if reader is not None and reader.client_secret is not None:
        shown.metadata, shown.end_user_id = {}, None
    return shown


def submit_password(
    core: Core, *, login_id: str, reader: Reader, password: str, allow: Allow = always_allow
) -> LoginView:
    """Hand a 2FA password to the worker: sealed, one shot, gone after 60 s. It stays byte for byte what was typed.

    Args:
        allow: see there.

    Raises:
        Conflict: ``not_waiting_for_password``.
        NotFound, Unavailable: as in ``read_login``.
    """
    login = _read_waiting(core, login_id, reader, what="password")
    allow()
    return _submit(core, login, reader, what="password", text=password)


def submit_code(core: Core, *, login_id: str, reader: Reader, code: str, allow: Allow = always_allow) -> LoginView:
    """Hand a login code to the worker, as ``submit_password`` does, in the form that Telegram sent it in.

    Raises:
        InvalidInput: it cannot be the code that was sent; no attempt is lost.
        Conflict: ``not_waiting_for_code``.
        NotFound, Unavailable: as in ``read_login``.
    """
    login = _read_waiting(core, login_id, reader, what="code")
    sent = login.code or {}
    code = normalize_code(code, delivery=sent.get("delivery", "app"), length=sent.get("length"))
    allow()
    return _submit(core, login, reader, what="code", text=code)


def resend_code(
    core: Core,
    *,
    login_id: str,
    reader: Reader,
    allow: Allow = always_allow,
    allow_phone: Callable[[str], None] | None = None,
) -> LoginView:
    """Ask for the login code to be sent once more, by Telegram's next way of delivery.

    Args:
        allow_phone: asked with the number that the code goes to; raises when it gets no more codes now.

    Raises:
        Conflict: ``not_waiting_for_code``.
        NotFound, Unavailable: as in ``read_login``.
    """
    login = _read_waiting(core, login_id, reader, what="code")
    allow()
    if allow_phone is not None:
        allow_phone(open_phone_number(core.keyring, login))
    return _submit(core, login, reader, what="code", text=RESEND)


def cancel_login(core: Core, *, login_id: str, reader: Reader) -> LoginView:
    """Cancel a live login. Its worker, or the sweep if none is there, logs its auth key out at Telegram.

    Raises:
        Conflict: ``login_final``.
        NotFound, Unavailable: as in ``read_login``.
    """
    with core.transaction() as db:
        login = find_readable(db, login_id=login_id, reader=reader)
        actor, before = reader.actor or "login-secret", login.status
        ended = end_from_outside(db, login_id=login.id, status="cancelled", actor=actor)
        if ended is None:
            raise Conflict("This login is over already; look at its status.", code="login_final")
    core.metrics.auth_qr_lost.labels(tenant_id=ended.tenant_id, status=before, end="cancelled").inc()
    _hint(core, ended, inbox="cancelled")
    return show_login(core, ended, reader=reader)


def _read_waiting(core: Core, login_id: str, reader: Reader, *, what: Literal["password", "code"]) -> Login:
    with core.transaction() as db:
        login = find_readable(db, login_id=login_id, reader=reader)
    if login.status != f"{what}_required":
        raise Conflict(f"This login does not wait for a {what}; look at its status.", code=f"not_waiting_for_{what}")
    return login


def _submit(core: Core, login: Login, reader: Reader, *, what: Literal["password", "code"], text: str) -> LoginView:
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
    return show_login(core, login, reader=reader)


def _attempts_left(login: Login) -> int:
    if login.status == "code_required":
        return int((login.code or {}).get("attempts_left", 0))
    return login.password_attempts_left or 0


def _read_row(core: Core, login_id: str, reader: Reader) -> Login:
    row = core.read_row(_SHOWN_ROW, login_id)
    if row is None or reader.tenant_id not in (None, row.tenant_id):
        raise NotFound("There is no such login.")
    return _as_login(row)


def _as_login(row: Row[*tuple[Any, ...]]) -> Login:
    """A row of the columns that are looked at, as what it stands for: to make a mapped object of it costs as much again."""
    return cast("Login", row)


def _readable(login: Login, reader: Reader, *, tenant_id: str | None) -> Login:
    if tenant_id is not None:
        return login
    # In constant time, so that a secret cannot be guessed byte by byte.
    if reader.client_secret is None or not hmac.compare_digest(
        hash_secret(reader.client_secret), login.client_secret_hash
    ):
        raise NotFound("There is no such login.")
    if login.finished_at is not None and login.finished_at < utc_now() - SECRET_LIFE_AFTER_END:
        raise NotFound("There is no such login.")
    return login


def _current_qr(core: Core, login: Login, read_value: ReadValue) -> QRView | None:
    try:
        value = read_value(login_qr_key(login.id))
    except RedisError:
        return None  # the next publication brings it back
    if value is None:
        return None
    try:
        shown = _open_qr(core.keyring, login.tenant_id, login.id, value)
    except SealBroken:
        return None
    return shown if shown.expires_at > utc_now() else None


@lru_cache(maxsize=2048)  # of sealed values, which say nothing else the next time: a code is read often while it lives
def _open_qr(keyring: KeyRing, tenant_id: str, login_id: str, value: bytes) -> QRView:
    token = open_token(keyring, tenant_id=tenant_id, login_id=login_id, value=value)
    return QRView(url=token.url, expires_at=token.expires_at)


def _connected_account(core: Core, login: Login) -> AccountView | None:
    """Whose session came of the login, for as long as the session keeps that."""
    with core.transaction() as db:
        row = db.get(TelegramSession, login.session_id)
    if row is None or row.status != "active":
        return None
    return AccountView(first_name=row.first_name, username=row.username, phone_masked=row.phone_masked)


def _hint(core: Core, login: Login, *, inbox: str) -> None:
    try:
        core.redis.publish(LOGIN_CHANNEL, encode_login_hint(login.id, login.version))
        core.redis.publish(INBOX_CHANNEL, encode_inbox_hint(login.id, inbox))
    except RedisError:
        pass  # hints: readers poll, and the worker looks at its rows every few seconds
