"""Sealing and opening a session's string session: the one door to it, and each opening leaves an audit row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session as DatabaseSession

from app.errors import Conflict, NotFound
from app.models import TelegramSession
from app.vault.audit import Event, record_event, record_events, record_of_many
from app.vault.keyring import KeyRing
from app.vault.places import session_place
from app.vault.sealing import Sealed


def seal_session(keyring: KeyRing, *, tenant_id: str, session_id: str, session_string: str) -> Sealed:
    """Seal a string session for its row. Write both parts of what is returned in one statement."""
    return keyring.seal(session_place(tenant_id, session_id), session_string.encode())


def open_session(
    db: DatabaseSession,
    *,
    keyring: KeyRing,
    tenant_id: str,
    session_id: str,
    actor: str,
    reason: str,
    details: dict[str, Any] | None = None,
) -> str:
    """Open a session's string session, with an audit row in the caller's transaction (``app.vault.transact``'s).

    Use the string after that transaction has committed: if the audit row is not stored, nothing was opened.

    Args:
        actor: who opens it: ``api-key:key_…``, ``validator@host``.
        reason: why, in a few words, as the tenant will read it.
        details: what the audit row keeps besides.

    Raises:
        NotFound: there is no such session, or it is another tenant's.
        Conflict: ``session_not_active``: its string was erased.
        SealBroken: it does not open under its key in its place.
        KeyNotAtHand: see there.
    """
    # Columns, not the row: what an earlier query left in this db's memory may be from before a rotation.
    row = db.execute(
        select(TelegramSession.key_id, TelegramSession.session_sealed).where(
            TelegramSession.id == session_id, TelegramSession.tenant_id == tenant_id
        )
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such session.")
    key_id, ciphertext = row
    session_string = _open(keyring, tenant_id=tenant_id, session_id=session_id, key_id=key_id, ciphertext=ciphertext)
    record_event(
        db,
        tenant_id=tenant_id,
        actor=actor,
        action="session.opened",
        subject=session_id,
        reason=reason,
        details=details,
    )
    return session_string


def open_locked_sessions(
    db: DatabaseSession, *, keyring: KeyRing, rows: Sequence[TelegramSession], actor: str, reason: str
) -> list[str]:
    """As ``open_session``, for rows as the statement returned them that locked them in this very transaction.

    Args:
        rows: at least one.

    Returns:
        The string sessions, in the rows' order.

    Raises:
        Conflict, SealBroken, KeyNotAtHand: see there; one of them does not open.
    """
    opened = [
        _open(keyring, tenant_id=row.tenant_id, session_id=row.id, key_id=row.key_id, ciphertext=row.session_sealed)
        for row in rows
    ]
    subjects = [(row.tenant_id, row.id) for row in rows]
    record_of_many(db, subjects, actor=actor, action="session.opened", reason=reason)
    return opened


def open_locked_session(
    db: DatabaseSession,
    *,
    keyring: KeyRing,
    row: TelegramSession,
    actor: str,
    reason: str,
    details: dict[str, Any] | None = None,
    also: tuple[Event, ...] = (),
) -> str:
    """As ``open_session``, for a row as the statement returned it that locked it in this very transaction.

    Args:
        also: further events for the audit, after that of the opening.

    Raises:
        Conflict, SealBroken, KeyNotAtHand: see there.
    """
    session_string = _open(
        keyring, tenant_id=row.tenant_id, session_id=row.id, key_id=row.key_id, ciphertext=row.session_sealed
    )
    opened = Event(
        tenant_id=row.tenant_id,
        actor=actor,
        action="session.opened",
        subject=row.id,
        reason=reason,
        details=details or {},
    )
    record_events(db, opened, *also)
    return session_string


def _open(keyring: KeyRing, *, tenant_id: str, session_id: str, key_id: str | None, ciphertext: bytes | None) -> str:
    if key_id is None or ciphertext is None:
        raise Conflict("This session's string was erased; log in again.", code="session_not_active")
    return keyring.open(session_place(tenant_id, session_id), Sealed(key_id, ciphertext)).decode()
