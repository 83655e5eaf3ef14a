"""The outbox as a log that is read from a cursor: every event of logins and sessions, each with a position.

An event gets its position after its transaction has committed, by whoever looks next, one at a time: so positions are seen in
their order, and who has read up to one has missed nothing before it. ``seq``, which is given out before the commit, is not so.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Select, Text, column, func, select, text, true, values
from sqlalchemy.orm import Session as DatabaseSession
from sqlalchemy.orm import aliased

from app.models import WebhookMessage
from app.webhooks.outbox import STREAMED_EVENT_TYPES

PAGE_EVENTS = 200
_BATCH = 1000
_ADVISORY_LOCK = 8_317_004_117  # of whoever gives out positions
_GIVE_OUT = text(
    """
    WITH ordered AS (
        SELECT id, nextval('event_positions') AS position
        FROM (SELECT id FROM webhook_outbox WHERE position IS NULL ORDER BY seq LIMIT :batch) AS late
    )
    UPDATE webhook_outbox SET position = ordered.position FROM ordered WHERE webhook_outbox.id = ordered.id
    """
)


class LoggedEvent(NamedTuple):
    """An event, and where it stands in the log."""

    position: int
    id: str
    type: str
    timestamp: datetime
    payload: dict[str, Any]


def give_out_positions(db: DatabaseSession) -> int:
    """Give the events that have none a position, a batch at most. Somebody else at it: they do it.

    Returns:
        How many got one; a whole batch (``_BATCH``) means that there may be more.
    """
    if not db.scalar(select(func.pg_try_advisory_xact_lock(_ADVISORY_LOCK))):
        return 0
    # A statement of its own: it sees what the last holder of the lock committed.
    return int(db.execute(_GIVE_OUT, {"batch": _BATCH}).rowcount)  # type: ignore[attr-defined]  # an UPDATE's result has it


def give_out_all_positions(db: DatabaseSession) -> None:
    """As ``give_out_positions``, until there is nothing left."""
    while give_out_positions(db) == _BATCH:
        pass


def read_last_given_out(db: DatabaseSession) -> int:
    """The highest position that was given out, to whosever event, committed or not; 0: none."""
    return db.scalar(text("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM event_positions")) or 0


def read_head(db: DatabaseSession, *, tenant_id: str) -> int:
    """The position of a tenant's last event; 0: none is kept. All before it have been committed."""
    return db.scalar(select(func.max(WebhookMessage.position)).where(WebhookMessage.tenant_id == tenant_id)) or 0


def read_after(db: DatabaseSession, heads: Mapping[str, int]) -> dict[str, list[LoggedEvent]]:
    """What has happened since, for many tenants in one query, in order; of each tenant a page at most.

    Args:
        heads: of each tenant, the position that was read last.
    """
    if not heads:
        return {}
    watched = values(column("tenant_id", Text), column("head", BigInteger), name="watched").data(list(heads.items()))
    page = _page(watched.c.tenant_id, watched.c.head, PAGE_EVENTS).lateral()
    rows = db.scalars(
        select(aliased(WebhookMessage, page)).select_from(watched).join(page, true()).order_by(page.c.position)
    )
    found: dict[str, list[LoggedEvent]] = {}
    for row in rows:
        found.setdefault(row.tenant_id, []).append(_event(row))
    return found


def read_page(db: DatabaseSession, *, tenant_id: str, after: int) -> list[LoggedEvent]:
    """A tenant's events after a position, in order, ``PAGE_EVENTS`` at most."""
    return [_event(row) for row in db.scalars(_page(tenant_id, after, PAGE_EVENTS))]


def _page(tenant_id: str | ColumnElement[str], after: int | ColumnElement[int], limit: int) -> Select[WebhookMessage]:
    return (
        select(WebhookMessage)
        .where(
            WebhookMessage.tenant_id == tenant_id,
            WebhookMessage.position > after,
            WebhookMessage.event.in_(STREAMED_EVENT_TYPES),
        )
        .order_by(WebhookMessage.position)
        .limit(limit)
    )


def _event(row: WebhookMessage) -> LoggedEvent:
    assert row.position is not None
    # The link's secret is not in it, and without that it opens nothing.
    payload = {name: value for name, value in row.payload.items() if name != "login_url"}
    return LoggedEvent(row.position, row.id, row.event, row.created_at, payload)
