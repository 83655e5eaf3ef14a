"""Claiming: turning an authorized auth key into a stored session, in the transaction that ends the login."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import bindparam, exists, insert, or_, select, text, update
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.ids import new_id
from app.models import TelegramSession
from app.sessions.events import queue_session_event
from app.sessions.schedule import next_slot
from app.sessions.store import fingerprint, is_denied, shortened_lease
from app.telegram.identity import ApiIdentity
from app.telegram.string_sessions import read_string_session
from app.vault.keyring import KeyRing
from app.vault.opening import seal_session
from app.vault.places import session_proxy_place

_SESSIONS: Any = TelegramSession.__table__
_ADD = insert(_SESSIONS)
_HAS_ANY = select(
    exists().where(
        _SESSIONS.c.tenant_id == bindparam("tenant_id"), _SESSIONS.c.telegram_user_id == bindparam("telegram_user_id")
    )
)


class Account(NamedTuple):
    """Whose session it is, as ``users.getUsers`` told. ``phone`` is kept masked only."""

    telegram_user_id: int
    username: str | None
    first_name: str | None
    phone: str | None


class Claimed(NamedTuple):
    """The new session's id, and that of the one it replaced, if any: still to be logged out.

    Should it have replaced another one besides, which was asked about once more, the sweep has that logged out.
    """

    session_id: str
    replaced_id: str | None


def claim_session(
    db: DatabaseSession,
    keyring: KeyRing,
    *,
    tenant_id: str,
    account: Account,
    string_session: str,
    dc_id: int,
    identity: ApiIdentity,
    metadata: dict[str, Any],
    validation_interval_seconds: int,
    end_user_id: str | None = None,
) -> Claimed:
    """Seal and store a session; the newest wins: an active or a denied one of the same account is marked replaced.

    The caller's transaction (``app.vault.transact``'s: it seals) also ends the login, so that a crash leaves both done or
    neither. The replaced session stays sealed until it is logged out at Telegram.

    Raises:
        KeyNotAtHand: see there.
    """
    lock_account(db, tenant_id=tenant_id, telegram_user_id=account.telegram_user_id)
    replaced_id = mark_replaced(db, tenant_id=tenant_id, telegram_user_id=account.telegram_user_id)
    session_id = new_id("ses")
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
    fixed = {"id": session_id, "tenant_id": tenant_id, "end_user_id": end_user_id, "metadata": metadata}
    # Not as a mapped object: nobody looks at it again here, and to add one takes three times as long.
    db.connection().execute(_ADD, fixed | values | {"created_at": values["updated_at"]})
    return Claimed(session_id=session_id, replaced_id=replaced_id)


def session_values(
    keyring: KeyRing,
    *,
    tenant_id: str,
    session_id: str,
    account: Account,
    string_session: str,
    dc_id: int,
    identity: ApiIdentity,
    validation_interval_seconds: int,
) -> dict[str, Any]:
    """The columns of an active session that an auth key makes: sealed for its place, and just seen alive.

    Raises:
        KeyNotAtHand: see there.
    """
    now = utc_now()
    sealed = seal_session(keyring, tenant_id=tenant_id, session_id=session_id, session_string=string_session)
    auth_key, _ = read_string_session(string_session)
    place = session_proxy_place(tenant_id, session_id)
    proxy_sealed = (
        keyring.seal_under_key(sealed.key_id, place, identity.proxy.encode()) if identity.proxy is not None else None
    )
    return {
        "telegram_user_id": account.telegram_user_id,
        "username": account.username,
        "first_name": account.first_name,
        "phone_masked": mask_phone(account.phone),
        "dc_id": dc_id,
        "status": "active",
        "key_id": sealed.key_id,
        "session_sealed": sealed.ciphertext,
        "auth_key_hash": fingerprint(auth_key),
        "device": identity.kept(),
        "proxy_sealed": proxy_sealed,
        "updated_at": now,
        "last_validated_at": now,
        "last_used_at": now,
        "next_validation_at": next_slot(session_id, now=now, interval_seconds=validation_interval_seconds),
    }


def lock_account(db: DatabaseSession, *, tenant_id: str, telegram_user_id: int) -> None:
    """Make whoever would give this account an active session wait for the caller's transaction: two must see each other."""
    db.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:account, 0))"),
        {"account": f"{tenant_id}/{telegram_user_id}"},
    )


def mask_phone(phone: str | None) -> str | None:
    """Keep the first two and the last two digits: ``+49•••••••17``."""
    if not phone:
        return None
    digits = phone.lstrip("+")
    if len(digits) < 6:
        return "+" + "•" * len(digits)
    return f"+{digits[:2]}{'•' * (len(digits) - 4)}{digits[-2:]}"


def mark_replaced(
    db: DatabaseSession, *, tenant_id: str, telegram_user_id: int, other_than: str | None = None
) -> str | None:
    """Mark an account's active session, and one that is denied, as replaced and to be logged out.

    Args:
        other_than: a session that stays.

    Returns:
        The id of one of them; the sweep finds the others.
    """
    # Most accounts have none, and to ask costs a quarter of the statement below. None comes meanwhile: ``lock_account``.
    account = {"tenant_id": tenant_id, "telegram_user_id": telegram_user_id}
    if not db.connection().scalar(_HAS_ANY, account):
        return None
    now = utc_now()
    older = db.scalars(
        update(TelegramSession)
        .where(
            TelegramSession.tenant_id == tenant_id,
            TelegramSession.telegram_user_id == telegram_user_id,
            or_(TelegramSession.status == "active", is_denied()),
            TelegramSession.id != (other_than or ""),
        )
        .values(
            status="replaced",
            version=TelegramSession.version + 1,
            updated_at=now,
            next_validation_at=None,
            logout_pending=True,
            next_logout_at=now,
            lease_expires_at=shortened_lease(),
        )
        .returning(TelegramSession)
        .execution_options(synchronize_session=False, populate_existing=True)
    ).all()
    for row in older:
        queue_session_event(db, "session.replaced", row)
    return older[0].id if older else None
