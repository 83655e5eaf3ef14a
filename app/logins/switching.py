"""Switching a login to the other way: from the QR code to a phone code, or back. The login, its page and its auth key stay.

The row says which way, and the switch takes the login from the worker that drives it (a higher epoch). That one hands it over;
whoever takes it next asks where the auth key stands, and goes the new way.
"""

from __future__ import annotations

import contextlib
from typing import Literal

from redis.exceptions import RedisError
from sqlalchemy.orm import Session as DatabaseSession

from app.core import Core
from app.errors import Conflict
from app.logins.service import Allow, Reader, always_allow, find_readable, show_login
from app.logins.serving import seal_phone
from app.logins.start import RUN_TASK
from app.logins.store import switch
from app.logins.view import LoginView
from app.models import Login
from app.redis_state import INBOX_CHANNEL, LOGIN_CHANNEL, encode_inbox_hint, encode_login_hint, login_qr_key
from app.vault.transact import transact


def switch_method(
    core: Core,
    *,
    login_id: str,
    reader: Reader,
    method: Literal["qr", "code"],
    phone: str | None,
    allow: Allow = always_allow,
) -> LoginView:
    """Have a login go on the other way, or with another phone number. To the QR code twice changes nothing.

    Args:
        phone: international, digits with a plus; set if and only if the method is ``code``.
        allow: asked once the reader is known to be one; raises when no code may be sent now.

    Raises:
        Conflict: ``cannot_switch``: it waits for a password, or is over.
        NotFound: there is none, it is another tenant's, or the secret is another login's.
        Unavailable: nothing could be stored.
        SealBroken, KeyUnavailable, Transient: a key is not to be had; nothing was stored.
    """
    with core.transaction() as db:
        login = find_readable(db, login_id=login_id, reader=reader)
    allow()
    if method == login.method == "qr" and login.finished_at is None:
        return show_login(core, login, reader=reader)
    switched = transact(core.transaction, core.keyring, lambda db: _switch(core, db, login, method, phone))
    _tell(core, switched)
    return show_login(core, switched, reader=reader)


def _switch(core: Core, db: DatabaseSession, login: Login, method: str, phone: str | None) -> Login:
    sealed = None
    if phone is not None and login.key_id is not None:
        sealed = seal_phone(core, tenant_id=login.tenant_id, login_id=login.id, key_id=login.key_id, phone=phone)
    switched = switch(db, login_id=login.id, method=method, phone_sealed=sealed)
    if switched is None:
        raise Conflict("This login cannot go another way now; look at its status.", code="cannot_switch")
    return switched


def _tell(core: Core, login: Login) -> None:
    with contextlib.suppress(
        RedisError
    ):  # hints: the worker looks at its row every few seconds, and the sweep sends the login
        core.redis.delete(login_qr_key(login.id))
        core.redis.publish(INBOX_CHANNEL, encode_inbox_hint(login.id, "switched"))
        core.redis.publish(LOGIN_CHANNEL, encode_login_hint(login.id, login.version))
    core.dispatch(RUN_TASK, login.id)
