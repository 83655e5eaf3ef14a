"""A re-login: a session that is there already gets a new auth key, and keeps its id, end user and metadata.

The old auth key, if it is there still, is set aside as a session of its own, ``replaced``: it is logged out as any other, after
whoever holds its lease has let go of it.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session as DatabaseSession

from app.errors import SealBroken
from app.idempotency import forget_answers
from app.ids import new_id
from app.logs import get_logger
from app.models import TelegramSession
from app.sessions.claim import Account, Claimed, lock_account, mark_replaced, session_values
from app.sessions.store import NO_LEASE, database_now, shortened_lease
from app.telegram.identity import ApiIdentity
from app.vault.audit import record_event
from app.vault.keyring import KeyRing
from app.vault.opening import open_session, seal_session
from app.vault.places import session_proxy_place
from app.vault.sealing import Sealed

_LEASE = ("lease_id", "lease_holder", "lease_purpose", "lease_api_key_id", "fencing_token")

_log = get_logger(__name__)


def claim_again(
    db: DatabaseSession,
    keyring: KeyRing,
    *,
    actor: str,
    tenant_id: str,
    session_id: str,
    account: Account,
    string_session: str,
    dc_id: int,
    identity: ApiIdentity,
    validation_interval_seconds: int,
) -> Claimed | None:
    """Give a session a new auth key, in the caller's transaction (``app.vault.transact``'s), which also ends the login.

    Returns:
        The session, and the one that is to be logged out for it, if any; None: the session was revoked meanwhile.

    Raises:
        KeyNotAtHand: see there.
    """
    lock_account(db, tenant_id=tenant_id, telegram_user_id=account.telegram_user_id)
    row = db.get(TelegramSession, session_id, with_for_update=True, populate_existing=True)
    if row is None or row.tenant_id != tenant_id or row.status in ("revoking", "revoked"):
        return None
    replaced_id = mark_replaced(
        db, tenant_id=tenant_id, telegram_user_id=account.telegram_user_id, other_than=session_id
    )
    aside = _old_auth_key(db, keyring, row, actor=actor)
    values = session_values(
        keyring,
        tenant_id=tenant_id,
        session_id=session_id,
        account=account,
        string_session=string_session,
        dc_id=dc_id,
        identity=identity,
        validation_interval_seconds=validation_interval_seconds,
    )
    changes = values | NO_LEASE | {"reason": None, "denials": 0, "reported_dead_at": None, "version": row.version + 1}
    changes |= {"logout_pending": False, "logout_tries": 0, "next_logout_at": None}
    for name, value in changes.items():
        setattr(row, name, value)
    db.flush()  # the old auth key's place is free only now
    forget_answers(db, subject=session_id)
    if aside is not None:
        db.add(aside)
        db.flush()
    record_event(
        db, tenant_id=tenant_id, actor=actor, action="session.logged_in_again", subject=session_id, reason="re-login"
    )
    return Claimed(session_id=session_id, replaced_id=aside.id if aside is not None else replaced_id)


def _old_auth_key(db: DatabaseSession, keyring: KeyRing, row: TelegramSession, *, actor: str) -> TelegramSession | None:
    """A row for the auth key that the session has had, sealed for its new place and due to be logged out."""
    if row.session_sealed is None or row.key_id is None:
        return None
    aside_id = new_id("ses")
    try:
        string_session = open_session(
            db, keyring=keyring, tenant_id=row.tenant_id, session_id=row.id, actor=actor, reason="re-login"
        )
        proxy = _open_proxy(keyring, row)
    except SealBroken as exc:  # nobody can log it out, then; the new auth key is as good without
        _log.error("session.seal_broken", session_id=row.id, detail=exc.detail)
        return None
    sealed = seal_session(keyring, tenant_id=row.tenant_id, session_id=aside_id, session_string=string_session)
    place = session_proxy_place(row.tenant_id, aside_id)
    kept = {name: getattr(row, name) for name in _LEASE}
    return TelegramSession(
        id=aside_id,
        tenant_id=row.tenant_id,
        telegram_user_id=row.telegram_user_id,
        dc_id=row.dc_id,
        status="replaced",
        reason="logged_in_again",
        key_id=sealed.key_id,
        session_sealed=sealed.ciphertext,
        auth_key_hash=row.auth_key_hash,
        device=row.device,
        proxy_sealed=keyring.seal_under_key(sealed.key_id, place, proxy) if proxy is not None else None,
        lease_expires_at=db.scalar(select(shortened_lease()).where(TelegramSession.id == row.id)),
        logout_pending=True,
        next_logout_at=database_now(),
        **kept,
    )


def _open_proxy(keyring: KeyRing, row: TelegramSession) -> bytes | None:
    if row.proxy_sealed is None or row.key_id is None:
        return None
    return keyring.open(session_proxy_place(row.tenant_id, row.id), Sealed(row.key_id, row.proxy_sealed))
