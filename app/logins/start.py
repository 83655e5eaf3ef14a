"""Starting a login: replay an idempotent answer, or have ``app.logins.serving`` find or make the login that serves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from redis.exceptions import RedisError
from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.core import Core
from app.errors import Conflict, SealBroken
from app.keyed_hash import keyed_hash
from app.logins.secrets import client_secret_place
from app.logins.service import show_login
from app.logins.serving import NewLogin, Served, serve_login
from app.logins.store import end_from_outside
from app.logins.view import LoginView
from app.logs import get_logger
from app.models import IdempotencyKey, Login
from app.redis_state import INBOX_CHANNEL, LOGIN_CHANNEL, encode_inbox_hint, encode_login_hint
from app.vault.sealing import Sealed
from app.vault.transact import transact

RUN_TASK = "latchkey.run_qr_login"
IDEMPOTENCY_LIFE = timedelta(hours=24)

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


class _LostRace(Exception):
    """Another request with the same idempotency key committed first: roll back and replay its answer."""


def start_login(
    core: Core,
    *,
    tenant_id: str,
    request: NewLogin,
    idempotency_key: str | None = None,
) -> StartedLogin:
    """Start a login, or answer with what serves already. Commits, then sends the task.

    Raises:
        NotFound: there is no session of that ``session_id``.
        Conflict: ``idempotency_key_reused``: the key came with another request before; ``session_not_active``: the session to
            log in again for was revoked.
        InvalidInput: the session is another account's or another end user's.
        Unavailable: nothing could be stored.
        SealBroken, KeyUnavailable, Transient: a key is not to be had; nothing was stored.
    """
    answer = _commit(core, tenant_id, request, idempotency_key)
    try:
        return announce(core, answer.served, status_code=answer.status_code)
    except SealBroken as exc:
        if answer.served.fresh:
            raise
        # The login that would have served lost its secret, so that nobody can be shown it: end it, and begin a new one.
        _end_unreadable(core, answer.served.login, exc)
    answer = _commit(core, tenant_id, request, idempotency_key)
    return announce(core, answer.served, status_code=answer.status_code)


def announce(core: Core, served: Served, *, status_code: int) -> StartedLogin:
    """Tell of a commit: count it, send the task, hint at those that were cancelled; and show the login as it is now.

    One that was joined or replayed may be waiting for its scan already.

    Raises:
        SealBroken: the login's client secret does not open.
    """
    hint_cancelled(core, served.cancelled)
    if served.fresh:
        _count(core, served.login)
        if not served.login.reused:
            core.dispatch(RUN_TASK, served.login.id)
    login = served.login
    assert login.key_id is not None
    assert login.client_secret_sealed is not None
    secret = core.keyring.open(
        client_secret_place(login.tenant_id, login.id), Sealed(login.key_id, login.client_secret_sealed)
    )
    return StartedLogin(status_code=status_code, login=show_login(core, login), client_secret=secret.decode())


def hint_cancelled(core: Core, logins: Iterable[Login]) -> None:
    """Tell whoever looks at these logins, and the workers that drive them, that they were cancelled."""
    with contextlib.suppress(RedisError):  # hints: readers poll, and workers look at their rows every few seconds
        for login in logins:
            core.redis.publish(LOGIN_CHANNEL, encode_login_hint(login.id, login.version))
            core.redis.publish(INBOX_CHANNEL, encode_inbox_hint(login.id, "cancelled"))


def _commit(core: Core, tenant_id: str, request: NewLogin, idempotency_key: str | None) -> _Answer:
    for _ in range(2):
        try:
            return transact(
                core.transaction,
                core.keyring,
                lambda db: _serve(core, db, tenant_id, request, idempotency_key),
            )
        except _LostRace:
            continue
    # The winner's row is committed when the loser's insert returns, so that this is not reached.
    raise Conflict("Another request with this Idempotency-Key is under way; try again.")


def _serve(
    core: Core,
    db: DatabaseSession,
    tenant_id: str,
    request: NewLogin,
    idempotency_key: str | None,
) -> _Answer:
    if idempotency_key is not None:
        replay = _replay(core, db, tenant_id, request, idempotency_key)
        if replay is not None:
            return replay
    served = serve_login(core, db, tenant_id=tenant_id, request=request)
    status_code = 200 if served.login.reused else 202
    if idempotency_key is not None:
        _remember(core, db, tenant_id, request, idempotency_key, served.login, status_code)
    return _Answer(served, status_code)


def _replay(core: Core, db: DatabaseSession, tenant_id: str, request: NewLogin, idempotency_key: str) -> _Answer | None:
    key_hash = _hash_key(core, idempotency_key)
    remembered = db.get(IdempotencyKey, (tenant_id, key_hash))
    if remembered is None:
        return None
    if remembered.created_at < utc_now() - IDEMPOTENCY_LIFE:
        db.execute(
            delete(IdempotencyKey).where(IdempotencyKey.tenant_id == tenant_id, IdempotencyKey.key_hash == key_hash)
        )
        db.expunge(remembered)
        return None
    if remembered.body_hash != request.digest(core.settings):
        raise Conflict(
            "This Idempotency-Key came with another request before; use a new key.", code="idempotency_key_reused"
        )
    return _Answer(Served(db.get_one(Login, remembered.login_id), fresh=False), remembered.status_code)


def _remember(
    core: Core,
    db: DatabaseSession,
    tenant_id: str,
    request: NewLogin,
    idempotency_key: str,
    login: Login,
    status_code: int,
) -> None:
    stored = db.scalar(
        insert(IdempotencyKey)
        .values(
            tenant_id=tenant_id,
            key_hash=_hash_key(core, idempotency_key),
            body_hash=request.digest(core.settings),
            login_id=login.id,
            status_code=status_code,
        )
        .on_conflict_do_nothing()
        .returning(IdempotencyKey.login_id)
    )
    if stored is None:
        raise _LostRace


def _hash_key(core: Core, idempotency_key: str) -> bytes:
    return keyed_hash(core.settings, purpose="idempotency key", value=idempotency_key)


def _end_unreadable(core: Core, login: Login, error: SealBroken) -> None:
    """End a login that nobody can be shown, and forget the idempotency keys that it answered."""
    with core.transaction() as db:
        ended = end_from_outside(db, login_id=login.id, status="failed", reason="internal_error")
        db.execute(delete(IdempotencyKey).where(IdempotencyKey.login_id == login.id))
    _log.error("login.seal_broken", login_id=login.id, tenant_id=login.tenant_id, detail=error.detail)
    if ended is not None:
        core.metrics.auth_qr_failed.labels(tenant_id=ended.tenant_id, reason="internal_error").inc()
        hint_cancelled(core, [ended])


def _count(core: Core, login: Login) -> None:
    counter = core.metrics.auth_qr_reused if login.reused else core.metrics.auth_qr_start
    counter.labels(tenant_id=login.tenant_id).inc()
