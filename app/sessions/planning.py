"""Planning validations: which sessions are due, handed out in batches, each to one worker.

A planned session's ``next_validation_at`` is set to one moment ahead, and the batch's message carries that moment: it is
the ticket. Who validates needs it to be in the row still, so a message that comes twice, or too late, does nothing; and when
a message is lost, the session is simply due again at that moment.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, and_, case, func, update
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.core import Core
from app.models import VALIDATED_SESSION_STATUSES, TelegramSession
from app.sessions.mass_death import is_paused, tell_pause
from app.sessions.store import (
    DENIED,
    OWN_HOLDER_PREFIX,
    find_session,
    is_denied,
    lease_is_free,
    not_active,
    transaction_now,
    why_not_free,
)
from app.turns import in_turn

VALIDATE_BATCH_TASK = "latchkey.validate_session_batch"
BATCH_SESSIONS = 96
SESSIONS_AT_ONCE = 800
TICKET_SECONDS = 120.0
"""How long a batch may be on its way before its sessions are due again."""

_TURNED_AWAY_SECONDS = (1.0, 3.0)


class _Plan(NamedTuple):
    ticket: datetime
    session_ids: list[str]
    due: int
    """How many were due; those that are leased are not in ``session_ids``."""


def plan_validations(core: Core) -> int:
    """Send what is due in batches, the tenants in turn. Any number of planners may run at once.

    Nothing while the validator pauses. At most ``SESSIONS_AT_ONCE``, so that one run is short; the next one goes on. A leased
    session is not sent: it is due again when its lease runs out.

    Returns:
        How many sessions were sent.
    """
    sent = taken = 0
    if tell_pause(core):
        return sent
    while taken < SESSIONS_AT_ONCE:
        plan = _plan(core, limit=SESSIONS_AT_ONCE - taken)
        if not plan.due:
            break
        taken += plan.due
        for start in range(0, len(plan.session_ids), BATCH_SESSIONS):
            _send(core, plan.session_ids[start : start + BATCH_SESSIONS], ticket=plan.ticket)
        sent += len(plan.session_ids)
    return sent


def plan_batch(core: Core) -> tuple[datetime, list[str]]:
    """Plan one batch for whoever asks, who validates it at once.

    Returns:
        Its ticket and its sessions: none while the validator pauses, or when nothing is due.
    """
    if is_paused(core):
        return utc_now(), []
    plan = _plan(core, limit=BATCH_SESSIONS)
    return plan.ticket, plan.session_ids


def validate_soon(core: Core, *, tenant_id: str, session_id: str) -> TelegramSession:
    """Have a session validated now. While Latchkey itself is at it, nothing more is needed.

    One that was given up because Telegram denied its key is brought back for a last question: the denial may have been wrong.
    One that is asked again after a denial keeps its times: a denial that somebody asked for does not count.

    Raises:
        NotFound: there is no such session, or it is another tenant's.
        SessionLeased: a tenant holds it.
        Conflict: ``session_not_active``.
    """
    ticket = utc_now() + timedelta(seconds=TICKET_SECONDS)
    with core.transaction() as db:
        planned = db.scalar(
            update(TelegramSession)
            .where(
                TelegramSession.id == session_id,
                TelegramSession.tenant_id == tenant_id,
                TelegramSession.status.in_(VALIDATED_SESSION_STATUSES) | _given_up_in_doubt(),
                lease_is_free(),
            )
            .values(
                next_validation_at=ticket,
                status=case((TelegramSession.status == "invalid", "quarantined"), else_=TelegramSession.status),
                denials=case(
                    (is_denied(), func.greatest(TelegramSession.denials - 1, 0)), else_=TelegramSession.denials
                ),
            )
            .returning(TelegramSession.id)
        )
        row = find_session(db, tenant_id=tenant_id, session_id=session_id)
    if planned is None:
        if row.status not in VALIDATED_SESSION_STATUSES:
            raise not_active(row)
        if not (row.lease_holder or "").startswith(OWN_HOLDER_PREFIX):
            raise why_not_free(row, statuses=VALIDATED_SESSION_STATUSES)
        return row
    _send(core, [session_id], ticket=ticket)
    return row


def put_back(core: Core, session_ids: Iterable[str], *, ticket: datetime, until: datetime | None = None) -> None:
    """Give planned sessions back.

    Args:
        until: when they are due again; None: within seconds, because no one here has the time.
    """
    again_at = until or utc_now() + timedelta(seconds=random.uniform(*_TURNED_AWAY_SECONDS))  # noqa: S311  # spreads load
    with core.transaction() as db:
        db.execute(
            update(TelegramSession)
            .where(TelegramSession.id.in_(sorted(session_ids)), TelegramSession.next_validation_at == ticket)
            .values(next_validation_at=again_at)
        )


def _plan(core: Core, *, limit: int) -> _Plan:
    ticket = utc_now() + timedelta(seconds=TICKET_SECONDS)
    with core.transaction() as db:
        due = list(db.scalars(due_sessions(limit=limit)))
        planned = _give_tickets(db, due, ticket=ticket)
    if len(planned) < len(due):
        core.metrics.session_validations.labels(outcome="leased").inc(len(due) - len(planned))
    return _Plan(ticket, planned, len(due))


def _send(core: Core, session_ids: Sequence[str], *, ticket: datetime) -> None:
    if not core.dispatch(VALIDATE_BATCH_TASK, ticket.isoformat(), *session_ids):
        put_back(core, session_ids, ticket=ticket)  # the broker is away: no message will use this ticket


@lru_cache(maxsize=16)
def due_sessions(*, limit: int) -> Select[str]:
    """Ids of sessions whose turn it is, the tenants in turn, less those that another planner has in hand."""
    return in_turn(
        TelegramSession,
        TelegramSession.next_validation_at,
        TelegramSession.status.in_(VALIDATED_SESSION_STATUSES),
        TelegramSession.next_validation_at <= transaction_now(),
        limit=limit,
        each=BATCH_SESSIONS,
    )


def _given_up_in_doubt() -> ColumnElement[bool]:
    """True of sessions that are invalid for an ambiguous reason, and whose string is still there."""
    return and_(
        TelegramSession.status == "invalid",
        TelegramSession.reason == DENIED,
        TelegramSession.session_sealed.is_not(None),
    )


def _give_tickets(db: DatabaseSession, session_ids: Sequence[str], *, ticket: datetime) -> list[str]:
    """Take sessions whose turn it is; those that may be sent, in the order given. A leased one's turn is its lease's end."""
    if not session_ids:
        return []
    rows = db.execute(
        update(TelegramSession)
        .where(TelegramSession.id.in_(session_ids))
        .values(next_validation_at=case((lease_is_free(), ticket), else_=TelegramSession.lease_expires_at))
        .returning(TelegramSession.id, TelegramSession.next_validation_at)
        .execution_options(synchronize_session=False)
    )
    free = {session_id for session_id, at in rows if at == ticket}
    return [session_id for session_id in session_ids if session_id in free]
