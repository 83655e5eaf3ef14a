"""Leases: one holder at a time may use a session, for a limited time, and gets its string session for it, in the form it wants.

Telegram kills an auth key that two connections use in parallel, so whoever opens a session holds its lease: a tenant by
these calls, Latchkey itself by ``app.sessions.holding``. The fencing token only ever grows; a holder passes it on with what it
writes elsewhere, so that a late writer can be told from its successor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Row, Select
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.core import Core
from app.errors import Conflict, SealBroken
from app.ids import new_id
from app.models import TelegramSession
from app.sessions.lease_statements import ACQUIRE, USABLE, release, renewal
from app.sessions.schedule import next_slot
from app.sessions.store import find_session, why_not_free
from app.telegram.identity import ApiIdentity, identity_for
from app.telegram.session_formats import SessionFormat, write_session
from app.telegram.string_sessions import read_string_session
from app.vault.audit import Event, record_event
from app.vault.opening import open_locked_session
from app.vault.transact import transact


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A lease, with what is needed to use the session: by the same api_id and under the same device names as always."""

    lease_id: str
    fencing_token: int
    expires_at: datetime
    session_string: str = field(repr=False)
    telegram_user_id: int | None
    dc_id: int
    api_id: int
    device: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class RenewedLease:
    """A lease that goes on."""

    lease_id: str
    fencing_token: int
    expires_at: datetime


def acquire_lease(
    core: Core,
    *,
    tenant_id: str,
    session_id: str,
    holder: str,
    ttl_seconds: float,
    actor: str,
    purpose: str | None = None,
    api_key_id: str | None = None,
    session_format: SessionFormat = "telethon",
) -> Lease:
    """Take an active session's lease and open the session, which leaves an audit row.

    Args:
        holder: who uses the session, as others are told who find it leased.
        actor: who asks, for the audit: ``api-key:key_…``.
        purpose: why, for the audit.
        api_key_id: what it is asked for with: should that key be revoked, the lease is shortened.
        session_format: whose form the string session is to have.

    Raises:
        NotFound: there is no such session, or it is another tenant's.
        SessionLeased: somebody else holds it.
        Conflict: ``session_not_active``.
        SealBroken, KeyUnavailable, Transient: the session does not open, or not now; the lease is not taken.
    """

    def take_and_open(db: DatabaseSession) -> Lease:
        lease_id = new_id("lse")
        row = (
            db.connection()
            .execute(
                ACQUIRE,
                {
                    "session_id": session_id,
                    "tenant": tenant_id,
                    "lease": lease_id,
                    "holder": holder,
                    "purpose": purpose,
                    "api_key": api_key_id,
                    "life": timedelta(seconds=ttl_seconds),
                },
            )
            .one_or_none()
        )
        if row is None:
            raise why_not_free(find_session(db, tenant_id=tenant_id, session_id=session_id), statuses=USABLE)
        session = cast("TelegramSession", row)  # the columns of one that are looked at
        acquired = Event(
            tenant_id=tenant_id,
            actor=actor,
            action="lease.acquired",
            subject=session_id,
            reason=purpose,
            details={"holder": holder, "lease_id": lease_id, "ttl_seconds": ttl_seconds},
        )
        session_string = open_locked_session(
            db,
            keyring=core.keyring,
            row=session,
            actor=actor,
            reason=f"leased to {holder}" + (f": {purpose}" if purpose else ""),
            details={"holder": holder},
            also=(acquired,),
        )
        return _lease(core, session, row.overrides, session_string, session_format)

    try:
        lease = transact(core.transaction, core.keyring, take_and_open)
    except Conflict as exc:
        _count(core, exc.code)
        with core.transaction() as db:
            record_event(
                db,
                tenant_id=tenant_id,
                actor=actor,
                action="lease.refused",
                subject=session_id,
                reason=exc.code,
                details={"holder": holder},
            )
        raise
    _count(core, "acquired")
    return lease


def check_lease_again(core: Core, *, tenant_id: str, session_id: str, lease_id: str, actor: str) -> None:
    """Let the answer to ``acquire_lease`` be given again, which opens the session once more: an audit row says so.

    Raises:
        Conflict: ``lease_lost``: the lease is over; another holder may have the session.
        NotFound: there is no such session.
    """
    with core.transaction() as db:
        row = find_session(db, tenant_id=tenant_id, session_id=session_id)
        if row.lease_id != lease_id or row.lease_expires_at is None or row.lease_expires_at <= utc_now():
            raise _lost(row)
        record_event(
            db,
            tenant_id=tenant_id,
            actor=actor,
            action="session.opened",
            subject=session_id,
            reason=f"leased to {row.lease_holder}: answered again",
            details={"holder": row.lease_holder},
        )


def renew_lease(
    core: Core,
    *,
    tenant_id: str,
    session_id: str,
    lease_id: str,
    ttl_seconds: float,
    healthy: bool | None = None,
    actor: str = "latchkey",
) -> RenewedLease:
    """Let a lease go on for ``ttl_seconds`` from now, as long as it has not run out and the session is active.

    Args:
        healthy: True: Telegram answered this holder, which counts as validation. False: it looks dead; it is validated as
            soon as the lease ends, whatever is reported after that. None: nothing is known.

    Raises:
        NotFound: there is no such session, or it is another tenant's.
        Conflict: ``lease_lost``: it ran out, was given up or taken over, or the session is being revoked.
    """
    row = _write(
        core,
        renewal(healthy),
        tenant_id=tenant_id,
        session_id=session_id,
        lease_id=lease_id,
        actor=actor,
        life=timedelta(seconds=ttl_seconds),
    )
    _count(core, "renewed")
    return RenewedLease(lease_id=lease_id, fencing_token=row.fencing_token, expires_at=row.lease_expires_at)


def release_lease(
    core: Core,
    *,
    tenant_id: str,
    session_id: str,
    lease_id: str,
    healthy: bool | None = None,
    actor: str = "latchkey",
) -> None:
    """Give a lease up; the holder has disconnected before.

    Args:
        healthy: as in ``renew_lease``.

    Raises:
        NotFound: there is no such session, or it is another tenant's.
        Conflict: ``lease_lost``: somebody else took it over, or it was given up already.
    """
    _write(core, release(healthy), tenant_id=tenant_id, session_id=session_id, lease_id=lease_id, actor=actor)
    _count(core, "released")


def _write(
    core: Core,
    statement: Select[*tuple[Any, ...]],
    *,
    tenant_id: str,
    session_id: str,
    lease_id: str,
    actor: str,
    **parameters: timedelta,
) -> Row[*tuple[Any, ...]]:
    """Write under a lease.

    Raises:
        NotFound, Conflict: see ``renew_lease``.
    """
    now = utc_now()
    row = core.write_row(
        statement,
        session_id=session_id,
        tenant=tenant_id,
        lease=lease_id,
        actor=actor,
        now=now,
        slot=next_slot(session_id, now=now, interval_seconds=core.settings.validation_interval_seconds),
        **parameters,
    )
    if row is None:
        with core.transaction() as db:
            lost = _lost(find_session(db, tenant_id=tenant_id, session_id=session_id))
        _count(core, "lost")
        raise lost
    return row


def _lease(
    core: Core, row: TelegramSession, overrides: dict[str, Any], session_string: str, session_format: SessionFormat
) -> Lease:
    assert row.lease_id is not None
    assert row.lease_expires_at is not None
    identity = identity_for(core.settings, overrides | row.device)
    return Lease(
        lease_id=row.lease_id,
        fencing_token=row.fencing_token,
        expires_at=row.lease_expires_at,
        session_string=_in_form(session_string, session_format, identity=identity, row=row),
        telegram_user_id=row.telegram_user_id,
        dc_id=row.dc_id,
        api_id=identity.api_id,
        device=identity.device(),
    )


def _in_form(session_string: str, session_format: SessionFormat, *, identity: ApiIdentity, row: TelegramSession) -> str:
    if session_format == "telethon":
        return session_string
    try:
        auth_key, data_centre = read_string_session(session_string)
    except ValueError as exc:
        raise SealBroken("What was sealed for this session is not a string session.") from exc
    return write_session(
        session_format,
        auth_key=auth_key,
        data_centre=data_centre,
        api_id=identity.api_id,
        telegram_user_id=row.telegram_user_id,
    )


def _lost(row: TelegramSession) -> Conflict:
    why = "it ran out or was given up" if row.status in USABLE else f"the session is {row.status}"
    return Conflict(f"This lease is lost: {why}. Disconnect, and acquire a new one.", code="lease_lost")


def _count(core: Core, outcome: str) -> None:
    core.metrics.session_leases.labels(outcome=outcome).inc()
