"""The rows of logins: every write is a compare-and-set, so that a stale worker cannot write.

Whoever drives a login holds an epoch: each take-over raises it, and a write under an older one changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from sqlalchemy import ARRAY, Text, any_, bindparam, func, select, update
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.errors import LoginOver, NotFound, OwnershipLost
from app.logins.leaving_keys import final_ask_at, move_auth_key
from app.models import FINAL_LOGIN_STATUSES, LIVE_LOGIN_STATUSES, Login
from app.turns import in_turn
from app.vault.audit import record_event
from app.webhooks.outbox import queue_login_event

DISPATCH_GRACE_SECONDS = 15.0
"""How long a dispatched login may lie in the queue before the sweep sends it again; doubles up to 16-fold."""


SWITCHABLE_LOGIN_STATUSES = ("queued", "waiting_for_scan", "code_required")
"""In these, nothing has been answered yet that would be lost."""

_SWITCH_SECONDS = 2.0
"""How long the worker that drove a login has to hand it over when it is switched, before the sweep sends it."""


PLAIN: dict[str, Any] = {"populate_existing": True, "synchronize_session": False}
"""What comes back is as the row is now; nothing is worked out in Python besides, which would cost more than the statement."""


class Ownership(Enum):
    """Whose a login is, to a worker that took it once."""

    MINE = "mine"
    OVER = "over"
    """It ended while this worker drove it: the user cancelled it, the sweep ended it, or this worker itself did."""
    ELSEWHERE = "elsewhere"
    """Another worker took it. Whatever has become of it since, that worker answers for it."""


def get_login(db: DatabaseSession, *, login_id: str, tenant_id: str | None = None) -> Login:
    """Read a login.

    Args:
        tenant_id: whose it must be; None: anybody's (the caller has checked the login's own secret).

    Raises:
        NotFound: there is none, or it is another tenant's.
    """
    login = db.get(Login, login_id)
    if login is None or (tenant_id is not None and login.tenant_id != tenant_id):
        raise NotFound("There is no such login.")
    return login


def read_versions(db: DatabaseSession, login_ids: list[str]) -> dict[str, int]:
    """The current versions of many logins, by id; one query for everybody who waits for one of them to change."""
    found = db.execute(select(Login.id, Login.version).where(Login.id == any_of(login_ids))).all()
    return {login_id: version for login_id, version in found}  # noqa: C416  # dict() does not take rows


def take(db: DatabaseSession, *, login_id: str, owner: str) -> Login | None:
    """Make ``owner`` the one that drives a login, and fence off whoever did before.

    Returns:
        The row with its raised epoch, or None when there is no live login of that id.
    """
    return db.scalar(
        update(Login)
        .where(Login.id == login_id, Login.status.in_(LIVE_LOGIN_STATUSES))
        .values(**taken_by(owner))
        .returning(Login)
        .execution_options(**PLAIN)
    )


def advance(db: DatabaseSession, *, login_id: str, epoch: int, public: bool = True, **changes: Any) -> int:
    """Write to a live login as its owner.

    Args:
        public: whether callers can see the change; if so the version is raised.
        changes: columns of ``Login``.

    Returns:
        The row's version.

    Raises:
        OwnershipLost: another worker has taken it.
        LoginOver: it is final already.
    """
    version: int | None = db.scalar(
        update(Login)
        .where(Login.id == login_id, Login.owner_epoch == epoch, Login.status.in_(LIVE_LOGIN_STATUSES))
        .values(**stamped(changes, public=public))
        .returning(Login.version)
        .execution_options(synchronize_session=False)
    )
    if version is None:
        raise why_not(db, login_id=login_id, epoch=epoch)
    return version


def end_as_owner(db: DatabaseSession, *, login_id: str, epoch: int, status: str, **changes: Any) -> Login:
    """End a live login as its owner.

    Args:
        status: a final status.
        changes: columns of ``Login``.

    Returns:
        The final row.

    Raises:
        OwnershipLost: another worker has taken it.
        LoginOver: it is final already.
    """
    ended = _end(db, status, changes, Login.id == login_id, Login.owner_epoch == epoch)
    if ended is None:
        raise why_not(db, login_id=login_id, epoch=epoch)
    return ended


def end_from_outside(
    db: DatabaseSession, *, login_id: str, status: str, actor: str = "latchkey", **changes: Any
) -> Login | None:
    """End a live login for somebody who does not drive it: its user, its tenant or the sweep.

    Args:
        actor: who ends it, for the audit.
        status, changes: as in ``end_as_owner``.

    Returns:
        The final row, or None when it was final already: one caller wins.
    """
    return _end(db, status, changes, Login.id == login_id, actor=actor)


def switch(db: DatabaseSession, *, login_id: str, method: str, phone_sealed: bytes | None) -> Login | None:
    """Send a live login another way, and fence off the worker that drives it: whoever takes it next goes that way.

    Returns:
        The row, or None when it cannot go another way: it waits for a password, or is final.
    """
    return db.scalar(
        update(Login)
        .where(Login.id == login_id, Login.status.in_(SWITCHABLE_LOGIN_STATUSES))
        .values(
            **stamped(
                {
                    "method": method,
                    "phone_sealed": phone_sealed,
                    "status": "queued",
                    "code": None,
                    "retry_after_at": None,
                    "owner": None,
                    "owner_epoch": Login.owner_epoch + 1,
                    "dispatches": 0,
                    "next_dispatch_at": func.now() + timedelta(seconds=_SWITCH_SECONDS),
                },
                public=True,
            )
        )
        .returning(Login)
        .execution_options(**PLAIN)
    )


def ownership_of(db: DatabaseSession, epochs: Mapping[str, int]) -> dict[str, Ownership]:
    """Look at logins that a worker took (id → epoch), in one query for all.

    The epoch counts before the status: a login that another worker took and ended is that worker's, not over for this one.
    """
    rows = db.execute(select(Login.id, Login.owner_epoch, Login.status).where(Login.id == any_of(epochs)))
    found = {login_id: (epoch, status) for login_id, epoch, status in rows}
    return {login_id: _judge(found.get(login_id), epoch) for login_id, epoch in epochs.items()}


def why_not(db: DatabaseSession, *, login_id: str, epoch: int) -> LoginOver | OwnershipLost:
    """Tell an owner why its write changed nothing."""
    row = db.execute(select(Login.owner_epoch, Login.status).where(Login.id == login_id)).one_or_none()
    if row is not None and row.owner_epoch != epoch:
        return OwnershipLost(f"Another worker drives login {login_id} now.")
    status = row.status if row is not None else "gone"
    return LoginOver(f"Login {login_id} is over ({status}).")


def due_for_dispatch(db: DatabaseSession, *, now: datetime, limit: int) -> list[Login]:
    """Logins that should be moving and were last sent long enough ago, the tenants in turn."""
    turn = in_turn(
        Login,
        Login.next_dispatch_at,
        Login.status.in_(LIVE_LOGIN_STATUSES),
        Login.next_dispatch_at <= now,
        limit=limit,
        each=limit,
    )
    ids = db.scalars(turn).all()
    found = {login.id: login for login in db.scalars(select(Login).where(Login.id.in_(ids)))}
    return [found[login_id] for login_id in ids]


def mark_dispatched(db: DatabaseSession, login_ids: Collection[str], *, now: datetime) -> None:
    """Note that a message for each is under way, and when to send it again if nothing comes of it."""
    db.execute(
        update(Login)
        .where(Login.id.in_(login_ids))
        .values(
            dispatches=Login.dispatches + 1,
            next_dispatch_at=now
            + timedelta(seconds=DISPATCH_GRACE_SECONDS) * func.power(2, func.least(Login.dispatches, 4)),
        )
        .execution_options(synchronize_session=False)
    )


def look_again(db: DatabaseSession, login_ids: Collection[str], *, at: datetime) -> None:
    """Have the sweep look at these logins again only then: a worker holds them."""
    db.execute(
        update(Login)
        .where(Login.id.in_(login_ids))
        .values(next_dispatch_at=at)
        .execution_options(synchronize_session=False)
    )


def _end(
    db: DatabaseSession, status: str, changes: dict[str, Any], *conditions: Any, actor: str | None = None
) -> Login | None:
    """End a live login: its row becomes final, its auth key leaves (or stays with the session), its tenant hears of it."""
    assert status in FINAL_LOGIN_STATUSES
    conditions = (Login.status.in_(LIVE_LOGIN_STATUSES), *conditions)
    if status != "authorized":
        before = db.execute(select(Login.qr_expires_at).where(*conditions).with_for_update()).one_or_none()
        if before is None:
            return None
        move_auth_key(db, *conditions, final_ask_at=final_ask_at(before.qr_expires_at))
    ending = {
        "status": status,
        "finished_at": func.now(),
        "password_hint": None,
        "password_attempts_left": None,
        "code": None,
        "qr_expires_at": None,
        "phone_sealed": None,
        "auth_key_sealed": None,
    }
    ended = db.scalar(
        update(Login)
        .where(*conditions)
        .values(**stamped(ending | changes, public=True))
        .returning(Login)
        .execution_options(**PLAIN)
    )
    if ended is None:
        return None
    queue_login_event(db, ended)
    record_event(
        db,
        tenant_id=ended.tenant_id,
        actor=actor or ended.owner or "latchkey",
        action=f"login.{status}",
        subject=ended.id,
        reason=ended.reason,
        details={"session_id": ended.session_id} if ended.session_id else None,
    )
    return ended


def _judge(row: tuple[int, str] | None, epoch: int) -> Ownership:
    if row is None:
        return Ownership.OVER
    owner_epoch, status = row
    if owner_epoch != epoch:
        return Ownership.ELSEWHERE
    return Ownership.OVER if status in FINAL_LOGIN_STATUSES else Ownership.MINE


def taken_by(owner: str) -> dict[str, Any]:
    """What a login has when a worker takes it."""
    return {
        "owner": owner,
        "owner_epoch": Login.owner_epoch + 1,
        "dispatches": 0,
        "next_dispatch_at": func.now() + timedelta(seconds=DISPATCH_GRACE_SECONDS),
    }


def any_of(login_ids: Iterable[str]) -> Any:
    """As one array, and not as so many parameters: the statement stays the same however many they are."""
    return any_(bindparam("ids", list(login_ids), ARRAY(Text)))


def stamped(changes: dict[str, Any], *, public: bool, at: Any = None) -> dict[str, Any]:
    """Changes, with the next version and the time where callers can see them."""
    if not public:
        return changes
    return changes | {"version": Login.version + 1, "updated_at": utc_now() if at is None else at}
