"""The rows of many logins in one statement, for workers that drive thousands; see ``app.logins.store`` for one.

A row that somebody else has locked is left out, so that it keeps nobody waiting: it is written by itself.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, JSON, Integer, Select, Text, any_, bindparam, cast, column, func, select, update
from sqlalchemy.orm import Session as DatabaseSession
from sqlalchemy.sql.dml import ReturningUpdate

from app.clock import utc_now
from app.logins.store import PLAIN, any_of, stamped, taken_by
from app.models import LIVE_LOGIN_STATUSES, Login

_LOGINS: Any = Login.__table__


class Write(NamedTuple):
    """What an owner writes to a live login.

    Args:
        epoch, public: as in ``app.logins.store.advance``.
        changes: columns of ``Login``, none of them of JSON.
    """

    login_id: str
    epoch: int
    public: bool
    changes: dict[str, Any]


def take_many(db: DatabaseSession, login_ids: Collection[str], *, owner: str) -> list[Login]:
    """As ``app.logins.store.take`` for many logins, but for those whose rows somebody else has locked: take them one by one."""
    return list(
        db.scalars(
            update(Login)
            .where(
                Login.id.in_(_unlocked(login_ids)),
                Login.status.in_(LIVE_LOGIN_STATUSES),
            )
            .values(**taken_by(owner))
            .returning(Login)
            .execution_options(**PLAIN)
        )
    )


def may_gather(write: Write) -> bool:
    """Whether ``advance_many`` takes a write: it has no arrays of JSON."""
    return not any(isinstance(Login.__table__.c[name].type, JSON) for name in write.changes)


def advance_many(db: DatabaseSession, writes: Collection[Write]) -> dict[str, int]:
    """As ``app.logins.store.advance`` for many logins, in one statement for all that write the same columns.

    Returns:
        The versions of the rows written, by id. Those that are missing are to be written one by one: they are another worker's,
        over, or somebody else has locked them, and nobody is kept waiting for that.
    """
    versions: dict[str, int] = {}
    for names, alike in _alike(writes).items():
        rows = db.connection().execute(_advance_alike(names), _as_arrays(names, alike)).all()
        versions |= {row.id: row.version for row in rows}
    return versions


def _unlocked(login_ids: Collection[str]) -> Select[Any]:
    return select(Login.id).where(Login.id == any_of(login_ids)).with_for_update(skip_locked=True)


class _Columns(NamedTuple):
    """What writes that are alike have in common."""

    names: tuple[str, ...]
    public: bool


def _alike(writes: Collection[Write]) -> dict[_Columns, list[Write]]:
    alike: dict[_Columns, list[Write]] = {}
    for write in writes:
        alike.setdefault(_Columns(tuple(sorted(write.changes)), write.public), []).append(write)
    return alike


def _as_arrays(columns: _Columns, writes: list[Write]) -> dict[str, Any]:
    """The writes as one array a column, which keeps the statement the same however many they are."""
    arrays: dict[str, Any] = {
        "new_id": [write.login_id for write in writes],
        "new_epoch": [write.epoch for write in writes],
    }
    arrays |= {f"new_{name}": [write.changes[name] for write in writes] for name in columns.names}
    return arrays | ({"now": utc_now()} if columns.public else {})


@lru_cache(maxsize=64)
def _advance_alike(columns: _Columns) -> ReturningUpdate[str, int]:
    # Of the table and not of the class: the ORM would work out the cached statement's key anew at each use.
    types: dict[str, Any] = {"id": Text(), "epoch": Integer()}
    types |= {name: _LOGINS.c[name].type for name in columns.names}
    arrays = [cast(bindparam(f"new_{name}", type_=ARRAY(kind)), ARRAY(kind)) for name, kind in types.items()]
    new = (
        func.unnest(*arrays)
        .table_valued(*(column(name, kind) for name, kind in types.items()), name="new")
        .render_derived()
    )
    unlocked = (
        select(_LOGINS.c.id)
        .where(_LOGINS.c.id == any_(arrays[0]), _LOGINS.c.status.in_(LIVE_LOGIN_STATUSES))
        .with_for_update(skip_locked=True)
        .cte("unlocked")
    )
    changes = {name: new.c[name] for name in columns.names}
    return (
        update(_LOGINS)
        .where(_LOGINS.c.id == new.c.id, _LOGINS.c.id == unlocked.c.id, _LOGINS.c.owner_epoch == new.c.epoch)
        .values(**stamped(changes, public=columns.public, at=bindparam("now")))
        .returning(_LOGINS.c.id, _LOGINS.c.version)
    )
