"""Turns: due work is taken from the tenants in turn, so that one tenant's thousand waits behind everybody's first.

Each tenant's own work comes in the order of its time; what is first at any tenant comes before what is second at any other.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnExpressionArgument, Select, case, func, select, true
from sqlalchemy.orm import InstrumentedAttribute

from app.models import Login, TelegramSession, Tenant


def in_turn(
    model: type[Login] | type[TelegramSession],
    due_at: InstrumentedAttribute[datetime | None],
    *conditions: ColumnExpressionArgument[bool],
    limit: int,
    each: int,
) -> Select[Any]:
    """The ids of rows to take now, in turn, locked; those that somebody else has locked are left out.

    An index over (tenant_id, due_at) that meets the conditions makes this one look per tenant, and a few more for those whose
    turn it is, however many rows there are.

    Args:
        due_at: what a tenant's own rows are ordered by.
        conditions: what makes a row due; looked at once more when it is locked.
        limit: how many in all.
        each: how many of one tenant's.
    """
    # Of more tenants than are taken of, only those whose first row is due earliest can have their turn.
    head = select(due_at.label("due_at")).where(model.tenant_id == Tenant.id, *conditions).order_by(due_at).limit(1)
    heads = head.lateral("head")
    tenant = select(Tenant.id).join(heads, true()).order_by(heads.c.due_at).limit(limit).cte("tenant_in_turn")
    # When there are as many as are to be taken, the first row of each is all.
    full = select(func.count() >= limit).select_from(tenant).scalar_subquery()
    place = func.row_number().over(order_by=due_at).label("place")
    first = (
        select(model.id, due_at.label("due_at"), place)
        .where(model.tenant_id == tenant.c.id, *conditions)
        .order_by(due_at)
        .limit(case((full, 1), else_=each))
        .lateral("first")
    )
    turn = (
        select(first.c.id, first.c.due_at, first.c.place)
        .select_from(tenant)
        .join(first, true())
        .order_by(first.c.place, first.c.due_at)
        .limit(limit)
        .subquery("turn")
    )
    return (
        select(model.id)
        .join(turn, turn.c.id == model.id)
        .where(*conditions)
        .order_by(turn.c.place, turn.c.due_at)
        .with_for_update(skip_locked=True, of=model)
    )
