"""The statements that a tenant's lease is taken, renewed and released with, each made once: that takes longer than to run it.

Renewing and releasing are one statement each, with the audit row in it: a transaction of its own, and so one round trip.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Interval,
    Select,
    Text,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.dml import ReturningUpdate

from app.models import AuditEvent, TelegramSession, Tenant
from app.sessions.store import database_now, lease_is_free, released, transaction_now

USABLE = ("active",)
"""The statuses of sessions that a tenant may use."""

_SESSION_ID, _LEASE_ID, _TENANT_ID = (bindparam(name, type_=Text()) for name in ("session_id", "lease", "tenant"))
_NOW, _SLOT = (bindparam(name, type_=DateTime(timezone=True)) for name in ("now", "slot"))
_LIFE = bindparam("life", type_=Interval())
_TURN = TelegramSession.next_validation_at


def _of_tenant() -> tuple[ColumnElement[bool], ...]:
    return TelegramSession.id == _SESSION_ID, TelegramSession.tenant_id == _TENANT_ID


ACQUIRE: ReturningUpdate[Any] = (
    update(TelegramSession.__table__)  # type: ignore[arg-type]  # it is a Table
    .where(*_of_tenant(), TelegramSession.status.in_(USABLE), lease_is_free())
    .values(
        lease_id=_LEASE_ID,
        lease_holder=bindparam("holder", type_=Text()),
        lease_purpose=bindparam("purpose", type_=Text()),
        lease_api_key_id=bindparam("api_key", type_=Text()),
        lease_expires_at=database_now() + _LIFE,
        fencing_token=TelegramSession.fencing_token + 1,
        last_used_at=database_now(),
    )
    .returning(
        *(
            getattr(TelegramSession, name)
            for name in (
                "id",
                "tenant_id",
                "telegram_user_id",
                "dc_id",
                "device",
                "key_id",
                "session_sealed",
                "lease_id",
                "lease_expires_at",
                "fencing_token",
            )
        ),
        select(Tenant.telegram).where(Tenant.id == TelegramSession.tenant_id).scalar_subquery().label("overrides"),
    )
)
"""Takes a free lease of a usable session; answers what is needed to open it, or nothing."""


@cache
def renewal(healthy: bool | None) -> Select[*tuple[Any, ...]]:
    """Renews a lease that has not run out; answers ``fencing_token`` and ``lease_expires_at``, or nothing.

    Args:
        healthy: as in ``renew_lease``.
    """
    # One value, not the clock's at each look: a turn that was put off until the lease's end goes along with it.
    expires_at = transaction_now() + _LIFE
    put_off = {"next_validation_at": case((TelegramSession.lease_expires_at == _TURN, expires_at), else_=_TURN)}
    return _with_event(
        "lease.renewed",
        changes={"lease_expires_at": expires_at, "last_used_at": database_now()} | put_off | _health(healthy),
        conditions=(TelegramSession.status.in_(USABLE), TelegramSession.lease_expires_at > database_now()),
    )


@cache
def release(healthy: bool | None) -> Select[*tuple[Any, ...]]:
    """Releases a lease; answers as ``renewal`` does.

    Args:
        healthy: as in ``renew_lease``.
    """
    looks_dead = or_(TelegramSession.reported_dead_at.is_not(None), literal(healthy is False))
    turn = case(
        (_TURN.is_(None), None),  # it is being revoked
        (looks_dead, database_now()),
        (literal(healthy is True), _SLOT),
        # Its turn came meanwhile, and was put off until this lease would have run out: it is its turn now.
        (TelegramSession.lease_expires_at == _TURN, database_now()),
        else_=func.least(_TURN, _SLOT),
    )
    return _with_event("lease.released", changes=released(_health(healthy) | {"next_validation_at": turn}))


def _health(healthy: bool | None) -> dict[str, Any]:
    if healthy is None:
        return {}
    if not healthy:
        return {"next_validation_at": _NOW, "reported_dead_at": _NOW}
    # Two words of one holder: the bad one is looked into, whatever came after it.
    doubted = TelegramSession.reported_dead_at.is_not(None)
    return {
        "last_validated_at": case((doubted, TelegramSession.last_validated_at), else_=_NOW),
        "next_validation_at": case((doubted, _TURN), else_=_SLOT),
    }


def _with_event(
    action: str, *, changes: dict[str, Any], conditions: tuple[ColumnElement[bool], ...] = ()
) -> Select[*tuple[Any, ...]]:
    """A write under a lease and its audit row, as one statement."""
    held = (
        update(TelegramSession.__table__)  # type: ignore[arg-type]  # it is a Table
        .where(*_of_tenant(), TelegramSession.lease_id == _LEASE_ID, *conditions)
        .values(**changes)
        .returning(
            TelegramSession.id,
            TelegramSession.tenant_id,
            TelegramSession.fencing_token,
            TelegramSession.lease_expires_at,
        )
        .cte("held")
    )
    event = {
        "tenant_id": held.c.tenant_id,
        "actor": bindparam("actor", type_=Text()),
        "action": literal(action, Text()),
        "subject": held.c.id,
        "details": func.jsonb_build_object(literal("lease_id", Text()), cast(_LEASE_ID, Text)).cast(JSONB),
    }
    told = insert(AuditEvent).from_select(list(event), select(*event.values()), include_defaults=False).cte("told")
    return select(held.c.fencing_token, held.c.lease_expires_at).add_cte(told)
