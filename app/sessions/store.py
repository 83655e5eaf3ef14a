"""The rows of sessions: the compare-and-set writes that leases rest on. Time is the database's, whoever asks.

A lease is a session's ``lease_*`` columns. It is free when there is no ``lease_id`` or when its time is up; whoever takes
it raises the fencing token; whoever holds it writes under its ``lease_id``, so that one who lost it writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    ColumnExpressionArgument,
    DateTime,
    Text,
    and_,
    bindparam,
    case,
    cast,
    column,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session as DatabaseSession
from sqlalchemy.types import TypeEngine

from app.clock import utc_now
from app.errors import Conflict, NotFound, SessionLeased
from app.ids import new_id
from app.models import TelegramSession

OWN_HOLDER_PREFIX = "latchkey:"
"""Holders of that kind are Latchkey's own: the validator, a revocation. They hold a session for seconds."""

REVOKE_GRACE_SECONDS = 60.0
"""A session that is revoked or replaced leaves its holder that much time at most, whatever was granted."""

DENIED = "auth_key_unregistered"
"""A quarantined (or invalid) session's reason: Telegram does not know its auth key, which it says falsely at times."""

NO_LEASE: dict[str, Any] = dict.fromkeys(
    ("lease_id", "lease_holder", "lease_purpose", "lease_expires_at", "lease_api_key_id")
)
"""The columns of a session that nobody holds."""


def database_now() -> ColumnElement[datetime]:
    """The database's clock at the moment a row is looked at, not when the transaction began."""
    return func.clock_timestamp(type_=DateTime(timezone=True))


def transaction_now() -> ColumnElement[datetime]:
    """The database's clock when the transaction began: unlike ``database_now`` it is one value, which an index can look for."""
    return func.now()


def lease_is_free() -> ColumnElement[bool]:
    """True of a row that nobody holds."""
    return or_(TelegramSession.lease_expires_at.is_(None), TelegramSession.lease_expires_at <= database_now())


def is_denied() -> ColumnElement[bool]:
    """True of a session that was active until Telegram denied its auth key, and is asked again before it is given up."""
    return and_(TelegramSession.status == "quarantined", TelegramSession.reason == DENIED)


def shortened_lease() -> ColumnElement[datetime | None]:
    """The end of the present lease, if there is one, brought forward for a revocation."""
    soon = database_now() + timedelta(seconds=REVOKE_GRACE_SECONDS)
    return case(
        (TelegramSession.lease_expires_at.is_not(None), func.least(TelegramSession.lease_expires_at, soon)), else_=None
    )


def fingerprint(auth_key: bytes) -> bytes:
    """What tells that two sessions are the same auth key: SHA-256 of its 256 random bytes, which nobody can guess."""
    return hashlib.sha256(b"latchkey-auth-key" + auth_key).digest()


def take_lease(
    db: DatabaseSession,
    *,
    session_id: str,
    holder: str,
    ttl_seconds: float,
    statuses: Collection[str],
    conditions: Collection[ColumnExpressionArgument[bool]] = (),
    **changes: Any,
) -> TelegramSession | None:
    """Take a session's lease if it is free; one of any number of callers wins.

    Args:
        statuses: the session must be in one of them.
        conditions: what else must be true of the row.
        changes: columns to set beside the lease's.

    Returns:
        The row as it stands now, or None: it is leased, in another status, or not there.
    """
    return db.scalar(
        update(TelegramSession)
        .where(TelegramSession.id == session_id, TelegramSession.status.in_(statuses), lease_is_free(), *conditions)
        .values(
            lease_id=new_id("lse"),
            lease_holder=holder,
            lease_expires_at=database_now() + timedelta(seconds=ttl_seconds),
            fencing_token=TelegramSession.fencing_token + 1,
            **({"lease_purpose": None, "lease_api_key_id": None} | changes),
        )
        .returning(TelegramSession)
        .execution_options(synchronize_session=False, populate_existing=True)
    )


def take_leases(
    db: DatabaseSession,
    *,
    session_ids: Collection[str],
    holder: str,
    ttl_seconds: float,
    statuses: Collection[str],
    conditions: Collection[ColumnExpressionArgument[bool]],
    lease_purpose: str,
) -> Sequence[TelegramSession]:
    """As ``take_lease`` for many sessions, in one statement.

    Returns:
        The rows as they stand now. Those that are missing are to be taken one by one, if at all: they are leased, in another
        status, or somebody else has locked them, and nobody is kept waiting for that.
    """
    ids = sorted(session_ids)
    new = _arrays(id=(Text(), ids), lease_id=(Text(), [new_id("lse") for _ in ids]))
    unlocked = (
        select(TelegramSession.id)
        .where(TelegramSession.id.in_(ids), TelegramSession.status.in_(statuses), lease_is_free(), *conditions)
        .with_for_update(skip_locked=True)
        .cte("unlocked")
    )
    return db.scalars(
        update(TelegramSession)
        .where(TelegramSession.id == new.c.id, TelegramSession.id == unlocked.c.id)
        .values(
            lease_id=new.c.lease_id,
            lease_holder=holder,
            lease_purpose=lease_purpose,
            lease_api_key_id=None,
            lease_expires_at=database_now() + timedelta(seconds=ttl_seconds),
            fencing_token=TelegramSession.fencing_token + 1,
        )
        .returning(TelegramSession)
        .execution_options(synchronize_session=False, populate_existing=True)
    ).all()


class Release(NamedTuple):
    """One of many leases that are given up together, and when its session's turn comes again."""

    session_id: str
    lease_id: str
    next_validation_at: datetime


def release_many(db: DatabaseSession, releases: Collection[Release], *, status: str, **changes: Any) -> set[str]:
    """As ``release_held`` for many leases whose sessions are in one status and get the same changes, in one statement.

    Returns:
        The ids of the sessions that were written. The others are to be released one by one: their lease was lost, their status
        is another, or somebody else has locked them.
    """
    new = _arrays(
        id=(Text(), [each.session_id for each in releases]),
        lease_id=(Text(), [each.lease_id for each in releases]),
        next_validation_at=(DateTime(timezone=True), [each.next_validation_at for each in releases]),
    )
    unlocked = (
        select(TelegramSession.id)
        .where(TelegramSession.id.in_([each.session_id for each in releases]))
        .with_for_update(skip_locked=True)
        .cte("unlocked")
    )
    return set(
        db.scalars(
            update(TelegramSession)
            .where(
                TelegramSession.id == new.c.id,
                TelegramSession.id == unlocked.c.id,
                TelegramSession.lease_id == new.c.lease_id,
                TelegramSession.status == status,
            )
            .values(released(changes | {"next_validation_at": new.c.next_validation_at}))
            .returning(TelegramSession.id)
            .execution_options(synchronize_session=False)
        )
    )


def write_held(
    db: DatabaseSession,
    *,
    session_id: str,
    lease_id: str,
    conditions: Collection[ColumnExpressionArgument[bool]] = (),
    **changes: Any,
) -> TelegramSession | None:
    """Write to a session under its lease, whether that has run out or not, as long as nobody else took it.

    Returns:
        The row as it stands now, or None: the lease is somebody else's or was given up; nothing was written.
    """
    return _write(db, session_id, lease_id, conditions, changes)


def release_held(
    db: DatabaseSession,
    *,
    session_id: str,
    lease_id: str,
    conditions: Collection[ColumnExpressionArgument[bool]] = (),
    **changes: Any,
) -> TelegramSession | None:
    """Write to a session under its lease, and give the lease up. A log-out that waited for that is due now.

    Returns:
        As ``write_held``.
    """
    return _write(db, session_id, lease_id, conditions, released(changes))


def find_session(db: DatabaseSession, *, tenant_id: str, session_id: str) -> TelegramSession:
    """Read a tenant's session as it is stored now.

    Raises:
        NotFound: there is none, or it is another tenant's.
    """
    row = db.scalar(
        select(TelegramSession)
        .where(TelegramSession.id == session_id, TelegramSession.tenant_id == tenant_id)
        .execution_options(populate_existing=True)
    )
    if row is None:
        raise NotFound("There is no such session.")
    return row


def find_active(db: DatabaseSession, *, tenant_id: str, telegram_user_id: int) -> str | None:
    """The id of the active session that a tenant has of an account, if it has one."""
    return db.scalar(
        select(TelegramSession.id).where(
            TelegramSession.tenant_id == tenant_id,
            TelegramSession.telegram_user_id == telegram_user_id,
            TelegramSession.status == "active",
        )
    )


def why_not_free(row: TelegramSession, *, statuses: Collection[str]) -> Conflict:
    """Say why a session's lease could not be taken."""
    if row.status not in statuses:
        return not_active(row)
    # One that ended between the attempt and this look is told as ending now: the caller tries again at once.
    return SessionLeased(
        "Somebody else holds this session; try again when the lease ends.",
        holder=row.lease_holder or "unknown",
        expires_at=row.lease_expires_at or utc_now(),
    )


def not_active(row: TelegramSession) -> Conflict:
    """Say that a session's status does not allow the call."""
    return Conflict(f"This session is {row.status}; it cannot be used.", code="session_not_active")


def released(changes: dict[str, Any]) -> dict[str, Any]:
    """The columns that a session is given up with, beside what else changes."""
    waiting = case((TelegramSession.logout_pending, database_now()), else_=TelegramSession.next_logout_at)
    return {"next_logout_at": waiting} | changes | NO_LEASE


def _arrays(**columns: tuple[TypeEngine[Any], list[Any]]) -> Any:
    """Rows that come with a statement, a column of them as one array: the statement is the same for any number."""
    arrays = [
        cast(bindparam(f"new_{name}", each, type_=ARRAY(kind)), ARRAY(kind)) for name, (kind, each) in columns.items()
    ]
    names = (column(name, kind) for name, (kind, _) in columns.items())
    return func.unnest(*arrays).table_valued(*names, name="new").render_derived()


def _write(
    db: DatabaseSession,
    session_id: str,
    lease_id: str,
    conditions: Collection[ColumnExpressionArgument[bool]],
    changes: dict[str, Any],
) -> TelegramSession | None:
    return db.scalar(
        update(TelegramSession)
        .where(TelegramSession.id == session_id, TelegramSession.lease_id == lease_id, *conditions)
        .values(**changes)
        .returning(TelegramSession)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
