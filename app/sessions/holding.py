"""Holding a session as Latchkey itself: the same lease as a tenant's, for the seconds that a look at Telegram takes."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnExpressionArgument, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as DatabaseSession

from app.core import Core
from app.errors import Conflict, SealBroken
from app.models import TelegramSession, Tenant
from app.sessions.proxies import session_identity
from app.sessions.store import fingerprint, release_held, take_lease, take_leases, write_held
from app.settings import DataCentre
from app.telegram.identity import ApiIdentity
from app.telegram.string_sessions import read_string_session
from app.vault.opening import open_locked_sessions
from app.vault.transact import transact

HOLD_SECONDS = 60.0
"""How long such a lease lasts; nothing is sent in its last ``_MARGIN_SECONDS``."""

_MARGIN_SECONDS = 5.0


class HoldLost(Conflict):
    """Raised when this process may not use the session any more: its lease is about to run out."""

    code = "lease_lost"


@dataclass(frozen=True, kw_only=True)
class HeldSession:
    """A session that this process holds, opened.

    Args:
        row: as it stood when the lease was taken; detached.
        lease_id: what to write and give up under.
        until: by ``time.monotonic``, which goes on while a process is stopped.
    """

    row: TelegramSession
    lease_id: str
    identity: ApiIdentity
    auth_key: bytes = field(repr=False)
    data_centre: DataCentre
    until: float

    def check(self) -> None:
        """Make sure that the session may still be used.

        Raises:
            HoldLost: it may not; a process that was paused wakes up to that.
        """
        if time.monotonic() >= self.until:
            raise HoldLost("This process held the session for too long.")

    def left_seconds(self) -> float:
        """For how long the session may still be used: the connection must be closed by then, too."""
        return max(0.0, self.until - time.monotonic())


def hold_session(
    core: Core,
    *,
    session_id: str,
    holder: str,
    reason: str,
    statuses: Collection[str],
    conditions: Collection[ColumnExpressionArgument[bool]] = (),
) -> HeldSession | None:
    """Take a session's lease and open the session, which leaves an audit row.

    Args:
        holder: with ``OWN_HOLDER_PREFIX``.
        reason: for the audit.
        conditions: see ``take_lease``.

    Returns:
        None: it is leased, or does not meet the conditions.

    Raises:
        SealBroken, Conflict: the session does not open, or was erased; the lease is not taken.
        KeyUnavailable, Transient: its key is not to be had now; the lease is not taken.
    """

    def take_and_open(db: DatabaseSession) -> HeldSession | None:
        # Counted from before the lease is taken, whose time begins then: the work may be run again.
        until = time.monotonic() + HOLD_SECONDS - _MARGIN_SECONDS
        row = take_lease(
            db,
            session_id=session_id,
            holder=holder,
            ttl_seconds=HOLD_SECONDS,
            statuses=statuses,
            conditions=conditions,
            lease_purpose=reason,
        )
        if row is None:
            return None
        return _open_all(core, db, [row], reason=reason, until=until)[0]

    return transact(core.transaction, core.keyring, take_and_open)


def hold_sessions(
    core: Core,
    *,
    session_ids: Collection[str],
    holder: str,
    reason: str,
    statuses: Collection[str],
    conditions: Collection[ColumnExpressionArgument[bool]],
) -> list[HeldSession]:
    """As ``hold_session`` for many, in one transaction: all that are returned are held, or on an exception none.

    Returns:
        Those that could be taken at once; the others are to be held one by one, if at all (``take_leases``).

    Raises:
        SealBroken, Conflict, KeyUnavailable, Transient: one of them does not open.
    """

    def take_and_open(db: DatabaseSession) -> list[HeldSession]:
        until = time.monotonic() + HOLD_SECONDS - _MARGIN_SECONDS
        rows = take_leases(
            db,
            session_ids=session_ids,
            holder=holder,
            ttl_seconds=HOLD_SECONDS,
            statuses=statuses,
            conditions=conditions,
            lease_purpose=reason,
        )
        return _open_all(core, db, rows, reason=reason, until=until) if rows else []

    return transact(core.transaction, core.keyring, take_and_open)


def claim_auth_key(core: Core, held: HeldSession) -> bool:
    """Make sure that no other session has this one's auth key, which must come before the key is used.

    A session from a backup came without the note of its key, and a dead one gave it up.

    Returns:
        False: another session has it.
    """
    if held.row.auth_key_hash is not None:
        return True
    try:
        with core.transaction() as db:
            write_held(db, session_id=held.row.id, lease_id=held.lease_id, auth_key_hash=fingerprint(held.auth_key))
    except IntegrityError:
        return False
    return True


def release_session(core: Core, held: HeldSession, **changes: Any) -> TelegramSession | None:
    """Write what came of it and give the lease up. The connection is closed by now.

    Returns:
        The row, or None: the lease was lost, and nothing was written.
    """
    with core.transaction() as db:
        return release_held(db, session_id=held.row.id, lease_id=held.lease_id, **changes)


def _open_all(
    core: Core, db: DatabaseSession, rows: Sequence[TelegramSession], *, reason: str, until: float
) -> list[HeldSession]:
    tenant_ids = {row.tenant_id for row in rows}
    tenants = {each.id: each for each in db.scalars(select(Tenant).where(Tenant.id.in_(tenant_ids)))}
    opened = open_locked_sessions(db, keyring=core.keyring, rows=rows, actor=core.actor, reason=reason)
    return [
        _held(core, tenants[row.tenant_id], row, session_string, until=until)
        for row, session_string in zip(rows, opened, strict=True)
    ]


def _held(core: Core, tenant: Tenant, row: TelegramSession, session_string: str, *, until: float) -> HeldSession:
    try:
        auth_key, data_centre = read_string_session(session_string)
    except ValueError as exc:
        raise SealBroken("What was sealed for this session is not a string session.") from exc
    assert row.lease_id is not None
    return HeldSession(
        row=row,
        lease_id=row.lease_id,
        identity=session_identity(core, tenant, row),
        auth_key=auth_key,
        data_centre=data_centre,
        until=until,
    )
