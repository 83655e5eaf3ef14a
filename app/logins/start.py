"""Starting a login: have ``app.logins.serving`` find or make the login that serves, and tell of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from redis.exceptions import RedisError

from app.core import Core
from app.correlation import correlate
from app.database import after_commit
from app.errors import SealBroken
from app.logins.origin import keep_origin
from app.logins.secrets import client_secret_place
from app.logins.service import show_login
from app.logins.serving import NewLogin, Served, serve_login
from app.logins.store import end_from_outside
from app.logins.view import LoginView
from app.logs import get_logger
from app.models import Login
from app.redis_state import INBOX_CHANNEL, LOGIN_CHANNEL, encode_inbox_hint, encode_login_hint
from app.vault.sealing import Sealed
from app.vault.transact import transact

RUN_TASK = "latchkey.run_qr_login"

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class StartedLogin:
    """The answer to a POST: 202 with a login on its way, or 200 with one that an active session served."""

    status_code: int
    login: LoginView
    client_secret: str = field(repr=False)


class _Answer(NamedTuple):
    """What serves a request, and the status that says so: 200 when nobody has to scan."""

    served: Served
    status_code: int


def start_login(
    core: Core,
    *,
    tenant_id: str,
    request: NewLogin,
) -> StartedLogin:
    """Start a login, or answer with what serves already. Commits, then sends the task.

    Raises:
        NotFound: there is no session of that ``session_id``.
        Conflict: ``session_not_active``: the session to log in again for was revoked.
        InvalidInput: the session is another account's or another end user's.
        Unavailable: nothing could be stored.
        SealBroken, KeyUnavailable, Transient: a key is not to be had; nothing was stored.
    """
    answer = _commit(core, tenant_id, request)
    try:
        return announce(core, answer.served, status_code=answer.status_code)
    except SealBroken as exc:
        if answer.served.fresh:
            raise
        # The login that would have served lost its secret, so that nobody can be shown it: end it, and begin a new one.
        _end_unreadable(core, answer.served.login, exc)
    answer = _commit(core, tenant_id, request)
    return announce(core, answer.served, status_code=answer.status_code)


def announce(core: Core, served: Served, *, status_code: int) -> StartedLogin:
    """Tell of a commit: count it, send the task, hint at those that were cancelled; and show the login as it is now.

    One that was joined or replayed may be waiting for its scan already.

    Raises:
        SealBroken: the login's client secret does not open.
    """
    login = served.login
    correlate(login_id=login.id)
    hint_cancelled(core, served.cancelled)
    if served.fresh:
        _count(core, login)
        if not login.reused:
            keep_origin(core, login.id)
            core.dispatch(RUN_TASK, login.id)
    assert login.key_id is not None
    assert login.client_secret_sealed is not None
    secret = core.keyring.open(
        client_secret_place(login.tenant_id, login.id), Sealed(login.key_id, login.client_secret_sealed)
    )
    return StartedLogin(status_code=status_code, login=show_login(core, login), client_secret=secret.decode())


def hint_cancelled(core: Core, logins: Iterable[Login]) -> None:
    """Tell whoever looks at these logins, and the workers that drive them, that they were cancelled."""
    hints = [(login.id, login.version) for login in logins]

    def publish() -> None:
        with contextlib.suppress(RedisError):  # hints: readers poll, and workers look at their rows every few seconds
            for login_id, version in hints:
                core.redis.publish(LOGIN_CHANNEL, encode_login_hint(login_id, version))
                core.redis.publish(INBOX_CHANNEL, encode_inbox_hint(login_id, "cancelled"))

    if not after_commit(publish):
        publish()


def _commit(core: Core, tenant_id: str, request: NewLogin) -> _Answer:
    served = transact(
        core.transaction,
        core.keyring,
        lambda db: serve_login(core, db, tenant_id=tenant_id, request=request),
    )
    return _Answer(served, 200 if served.login.reused else 202)


def _end_unreadable(core: Core, login: Login, error: SealBroken) -> None:
    """End a login that nobody can be shown."""
    before = login.status
    with core.transaction() as db:
        ended = end_from_outside(db, login_id=login.id, status="failed", reason="internal_error")
    _log.error("login.seal_broken", login_id=login.id, tenant_id=login.tenant_id, detail=error.detail)
    if ended is not None:
        core.metrics.auth_qr_failed.labels(tenant_id=ended.tenant_id, reason="internal_error").inc()
        core.metrics.auth_qr_lost.labels(tenant_id=ended.tenant_id, status=before, end="failed").inc()
        hint_cancelled(core, [ended])


def _count(core: Core, login: Login) -> None:
    counter = core.metrics.auth_qr_reused if login.reused else core.metrics.auth_qr_start
    counter.labels(tenant_id=login.tenant_id).inc()
