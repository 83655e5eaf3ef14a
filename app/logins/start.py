"""Starting a login: reuse an active session, join a live login, replay an idempotent answer, or make a new row."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.core import Core
from app.errors import Conflict
from app.ids import hash_secret, new_id, new_secret
from app.keyed_hash import keyed_hash
from app.logins.secrets import client_secret_place, phone_place
from app.logins.service import show_login
from app.logins.store import DISPATCH_GRACE_SECONDS
from app.logins.view import LoginView
from app.models import LIVE_LOGIN_STATUSES, IdempotencyKey, Login
from app.sessions.store import find_active
from app.settings import Settings
from app.vault.sealing import Sealed
from app.vault.transact import transact

RUN_TASK = "latchkey.run_qr_login"
IDEMPOTENCY_LIFE = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class NewLogin:
    """What the caller asked for, already checked.

    ``telegram_user_id`` is who is expected to scan, None: anybody. ``phone`` (international, digits with a plus) goes with
    method ``code`` only.
    """

    telegram_user_id: int | None = None
    method: Literal["qr", "code"] = "qr"
    phone: str | None = field(default=None, repr=False)
    replace: bool = False
    locale: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def digest(self, settings: Settings) -> bytes:
        """Keyed hash of the request, for telling a replay from another request under the same idempotency key.

        Under the installation's secret, because a phone number in it could be guessed.
        """
        return keyed_hash(settings, purpose="login request", value=json.dumps(asdict(self), sort_keys=True))


@dataclass(frozen=True, kw_only=True)
class StartedLogin:
    """The answer to a POST: 202 with a login on its way, or 200 with one that an active session served."""

    status_code: int
    login: LoginView
    client_secret: str = field(repr=False)


class _Served(NamedTuple):
    """The row that serves a request, and whether it was made for it."""

    login: Login
    status_code: int
    fresh: bool


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
        Conflict: ``idempotency_key_reused``: the key came with another request before.
        Unavailable: nothing could be stored.
        SealBroken, KeyUnavailable, Transient: a key is not to be had; nothing was stored.
    """
    for _ in range(2):
        try:
            served = transact(
                core.transaction,
                core.keyring,
                lambda db: _serve(core, db, tenant_id, request, idempotency_key),
            )
            break
        except _LostRace:
            continue
    else:  # pragma: no cover  # the winner's row is committed when the loser's insert returns
        raise Conflict("Another request with this Idempotency-Key is under way; try again.")
    if served.fresh:
        _count(core, served.login)
        if not served.login.reused:
            core.dispatch(RUN_TASK, served.login.id)
    return _answer(core, served)


def _serve(
    core: Core,
    db: DatabaseSession,
    tenant_id: str,
    request: NewLogin,
    idempotency_key: str | None,
) -> _Served:
    if idempotency_key is not None:
        replay = _replay(core, db, tenant_id, request, idempotency_key)
        if replay is not None:
            return replay
    login, fresh = _find_or_add(core, db, tenant_id, request)
    status_code = 200 if login.reused else 202
    if idempotency_key is not None:
        _remember(core, db, tenant_id, request, idempotency_key, login, status_code)
    return _Served(login, status_code, fresh=fresh)


def _find_or_add(core: Core, db: DatabaseSession, tenant_id: str, request: NewLogin) -> tuple[Login, bool]:
    """The login that serves this request, and whether it is a new row."""
    session_id = None
    if request.telegram_user_id is not None and not request.replace:
        session_id = find_active(db, tenant_id=tenant_id, telegram_user_id=request.telegram_user_id)
    values = _new_row(core, tenant_id, request, reused_session_id=session_id)
    while True:
        inserted = db.scalar(
            insert(Login)
            .values(values)
            .on_conflict_do_nothing(
                index_elements=["tenant_id", "telegram_user_id"], index_where=Login.status.in_(LIVE_LOGIN_STATUSES)
            )
            .returning(Login)
        )
        if inserted is not None:
            return inserted, True
        # One live login per user: the one that was in the way serves, unless it ended this very moment.
        live = db.scalar(
            select(Login).where(
                Login.tenant_id == tenant_id,
                Login.telegram_user_id == request.telegram_user_id,
                Login.status.in_(LIVE_LOGIN_STATUSES),
            )
        )
        if live is not None:
            return live, False


def _new_row(core: Core, tenant_id: str, request: NewLogin, *, reused_session_id: str | None) -> dict[str, Any]:
    login_id, secret, now = new_id("lgn"), new_secret("ls"), utc_now()
    sealed = core.keyring.seal(client_secret_place(tenant_id, login_id), secret.encode())
    phone_sealed = (
        core.keyring.seal_under_key(
            sealed.key_id, phone_place(tenant_id, login_id), json.dumps([request.phone, None]).encode()
        )
        if request.phone is not None
        else None
    )
    return {
        "id": login_id,
        "tenant_id": tenant_id,
        "telegram_user_id": request.telegram_user_id,
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
        "created_at": now,
        "updated_at": now,
        "expires_at": now + timedelta(seconds=core.settings.qr_ttl_seconds),
        "finished_at": now if reused_session_id else None,
        "next_dispatch_at": now + timedelta(seconds=DISPATCH_GRACE_SECONDS),
    }


def _replay(core: Core, db: DatabaseSession, tenant_id: str, request: NewLogin, idempotency_key: str) -> _Served | None:
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
    return _Served(db.get_one(Login, remembered.login_id), remembered.status_code, fresh=False)


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


def _answer(core: Core, served: _Served) -> StartedLogin:
    """Show the login as it is now, with its QR code: one that was joined or replayed may be waiting for its scan already."""
    login = served.login
    assert login.key_id is not None
    assert login.client_secret_sealed is not None
    secret = core.keyring.open(
        client_secret_place(login.tenant_id, login.id), Sealed(login.key_id, login.client_secret_sealed)
    )
    return StartedLogin(status_code=served.status_code, login=show_login(core, login), client_secret=secret.decode())


def _count(core: Core, login: Login) -> None:
    counter = core.metrics.auth_qr_reused if login.reused else core.metrics.auth_qr_start
    counter.labels(tenant_id=login.tenant_id).inc()
