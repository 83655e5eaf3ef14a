"""The access audit: a row for each unwrapped key, opened session, revocation and refusal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session as DatabaseSession

from app.models import AuditEvent

_ADD = insert(AuditEvent.__table__).inline()  # type: ignore[arg-type]  # it is a Table


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


def record_events(
    db: DatabaseSession, subjects: Iterable[tuple[str | None, str]], *, actor: str, action: str, reason: str
) -> None:
    """As ``record_event`` for many subjects to which the same was done, in one statement.

    Args:
        subjects: of each its tenant and its id; at least one.
    """
    same = {"actor": actor, "action": action, "reason": reason, "details": {}}
    rows = [same | {"tenant_id": tenant_id, "subject": subject} for tenant_id, subject in subjects]
    db.connection().execute(_ADD, rows)
