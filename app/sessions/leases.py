"""Leases: one holder at a time may use a session, for a limited time, and gets its string session for it, in the form it wants.

Telegram kills an auth key that two connections use in parallel, so whoever opens a session holds its lease: a tenant by
these calls, Latchkey itself by ``app.sessions.holding``. The fencing token only ever grows; a holder passes it on with what it
writes elsewhere, so that a late writer can be told from its successor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import case, func, literal, or_, select
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.core import Core
from app.errors import Conflict, SealBroken
from app.models import TelegramSession, Tenant
from app.sessions.schedule import next_slot
from app.sessions.store import (
    database_now,
    find_session,
    release_held,
    take_lease,
    transaction_now,
    why_not_free,
    write_held,
)
from app.telegram.identity import ApiIdentity, identity_for
from app.telegram.session_formats import SessionFormat, write_session
from app.telegram.string_sessions import read_string_session
from app.vault.audit import record_event
from app.vault.opening import open_session
from app.vault.transact import transact

_USABLE = ("active",)


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
        row = take_lease(
            db,
            session_id=session_id,
            holder=holder,
            ttl_seconds=ttl_seconds,
            statuses=_USABLE,
            conditions=(TelegramSession.tenant_id == tenant_id,),
            lease_purpose=purpose,
            lease_api_key_id=api_key_id,
            last_used_at=database_now(),
        )
        if row is None:
            raise why_not_free(find_session(db, tenant_id=tenant_id, session_id=session_id), statuses=_USABLE)
        reason = f"leased to {holder}" + (f": {purpose}" if purpose else "")
        session_string = open_session(
            db,
            keyring=core.keyring,
            tenant_id=tenant_id,
            session_id=session_id,
            actor=actor,
            reason=reason,
            details={"holder": holder},
        )
        details = {"holder": holder, "lease_id": row.lease_id, "ttl_seconds": ttl_seconds}
        record_event(
            db,
            tenant_id=tenant_id,
            actor=actor,
            action="lease.acquired",
            subject=session_id,
            reason=purpose,
            details=details,
        )
        overrides = db.execute(select(Tenant.telegram).where(Tenant.id == tenant_id)).scalar_one()
        return _lease(core, row, overrides, session_string, session_format)

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
    turn = TelegramSession.next_validation_at
    # One value, not the clock's at each look: a turn that was put off until the lease's end goes along with it.
    expires_at = transaction_now() + timedelta(seconds=ttl_seconds)
    put_off = {"next_validation_at": case((turn == TelegramSession.lease_expires_at, expires_at), else_=turn)}
    with core.transaction() as db:
        row = write_held(
            db,
            session_id=session_id,
            lease_id=lease_id,
            conditions=(
                TelegramSession.tenant_id == tenant_id,
                TelegramSession.status.in_(_USABLE),
                TelegramSession.lease_expires_at > database_now(),
            ),
            lease_expires_at=expires_at,
            last_used_at=database_now(),
            **put_off | _health(core, session_id, healthy),
        )
        lost = None if row else _lost(find_session(db, tenant_id=tenant_id, session_id=session_id))
        if row is not None:
            _record(db, row, lease_id, action="lease.renewed", actor=actor)
    if row is None or row.lease_expires_at is None:
        _count(core, "lost")
        assert lost is not None
        raise lost
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
    slot = next_slot(session_id, now=utc_now(), interval_seconds=core.settings.validation_interval_seconds)
    turn, health = TelegramSession.next_validation_at, _health(core, session_id, healthy)
    looks_dead = or_(TelegramSession.reported_dead_at.is_not(None), literal(healthy is False))
    with core.transaction() as db:
        row = release_held(
            db,
            session_id=session_id,
            lease_id=lease_id,
            conditions=(TelegramSession.tenant_id == tenant_id,),
            **health
            | {
                "next_validation_at": case(
                    (turn.is_(None), None),  # it is being revoked
                    (looks_dead, database_now()),
                    (literal(healthy is True), slot),
                    # Its turn came meanwhile, and was put off until this lease would have run out: it is its turn now.
                    (turn == TelegramSession.lease_expires_at, database_now()),
                    else_=func.least(turn, slot),
                )
            },
        )
        lost = None if row else _lost(find_session(db, tenant_id=tenant_id, session_id=session_id))
        if row is not None:
            _record(db, row, lease_id, action="lease.released", actor=actor)
    if lost is not None:
        _count(core, "lost")
        raise lost
    _count(core, "released")


def _record(db: DatabaseSession, row: TelegramSession, lease_id: str, *, action: str, actor: str) -> None:
    record_event(
        db, tenant_id=row.tenant_id, actor=actor, action=action, subject=row.id, details={"lease_id": lease_id}
    )


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


def _health(core: Core, session_id: str, healthy: bool | None) -> dict[str, Any]:
    if healthy is None:
        return {}
    now, turn = utc_now(), TelegramSession.next_validation_at
    if not healthy:
        return {"next_validation_at": now, "reported_dead_at": now}
    slot = next_slot(session_id, now=now, interval_seconds=core.settings.validation_interval_seconds)
    # Two words of one holder: the bad one is looked into, whatever came after it.
    doubted = TelegramSession.reported_dead_at.is_not(None)
    return {
        "last_validated_at": case((doubted, TelegramSession.last_validated_at), else_=now),
        "next_validation_at": case((doubted, turn), else_=slot),
    }


def _lost(row: TelegramSession) -> Conflict:
    why = "it ran out or was given up" if row.status in _USABLE else f"the session is {row.status}"
    return Conflict(f"This lease is lost: {why}. Disconnect, and acquire a new one.", code="lease_lost")


def _count(core: Core, outcome: str) -> None:
    core.metrics.session_leases.labels(outcome=outcome).inc()
