"""The access audit: a row for each unwrapped key, opened session, revocation and refusal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import Insert, bindparam, cast, insert, select, union_all
from sqlalchemy.orm import Session as DatabaseSession

from app.models import AuditEvent

_ADD = insert(AuditEvent.__table__).inline()  # type: ignore[arg-type]  # it is a Table


@dataclass(frozen=True, kw_only=True)
class Event:
    """An audit row to be added; its fields are ``record_event``'s arguments."""

    tenant_id: str | None
    actor: str
    action: str
    subject: str
    reason: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


def record_events(db: DatabaseSession, *events: Event) -> None:
    """Add audit rows to the caller's transaction, in one statement and in this order."""
    values = {f"{name}_{number}": value for number, each in enumerate(events) for name, value in vars(each).items()}
    db.connection().execute(_adding(len(events)), values)


@cache
def _adding(number: int) -> Insert:
    """The statement that adds so many rows: made and compiled once, which a list of ``VALUES`` would be each time."""
    columns = [AuditEvent.__table__.c[name] for name in Event.__dataclass_fields__]
    rows = (
        select(*(cast(bindparam(f"{column.name}_{row}", type_=column.type), column.type) for column in columns))
        for row in range(number)
    )
    return insert(AuditEvent).from_select(columns, union_all(*rows), include_defaults=False)


def record_event(
    db: DatabaseSession,
    *,
    tenant_id: str | None,
    actor: str,
    action: str,
    subject: str,
    reason: str | None = None,
    details: dict[str, Any] | None = None,
) -> None:
    """Add an audit row to the caller's transaction.

    Args:
        actor: who: ``api-key:key_…``, ``worker:logins-1@host``, ``cli``.
        action: what, in the past: ``key.unwrapped``, ``session.opened``, ``login.ownership_refused``.
        subject: the id of what it was done to.
        reason: why, in a few words.
    """
    # Not as a mapped object: nobody looks at it again here, and to add one takes three times as long.
    db.connection().execute(
        _ADD,
        {
            "tenant_id": tenant_id,
            "actor": actor,
            "action": action,
            "subject": subject,
            "reason": reason,
            "details": details or {},
        },
    )


def record_of_many(
    db: DatabaseSession, subjects: Iterable[tuple[str | None, str]], *, actor: str, action: str, reason: str
) -> None:
    """As ``record_event`` for many subjects to which the same was done, in one statement.

    Args:
        subjects: of each its tenant and its id; at least one.
    """
    same = {"actor": actor, "action": action, "reason": reason, "details": {}}
    rows = [same | {"tenant_id": tenant_id, "subject": subject} for tenant_id, subject in subjects]
    db.connection().execute(_ADD, rows)
