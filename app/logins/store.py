"""The rows of logins: every write is a compare-and-set, so that a stale worker cannot write.

Whoever drives a login holds an epoch: each take-over raises it, and a write under an older one changes nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.errors import LoginOver, NotFound, OwnershipLost
from app.models import FINAL_LOGIN_STATUSES, LIVE_LOGIN_STATUSES, Login

DISPATCH_GRACE_SECONDS = 15.0
"""How long a dispatched login may lie in the queue before the sweep sends it again; doubles up to 16-fold."""


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
    found = db.execute(select(Login.id, Login.version).where(Login.id.in_(login_ids))).all()
    return {login_id: version for login_id, version in found}  # noqa: C416  # dict() does not take rows


def take(db: DatabaseSession, *, login_id: str, owner: str) -> Login | None:
    """Make ``owner`` the one that drives a login, and fence off whoever did before.

    Returns:
        The row with its raised epoch, or None when there is no live login of that id.
    """
    return db.scalar(
        update(Login)
        .where(Login.id == login_id, Login.status.in_(LIVE_LOGIN_STATUSES))
        .values(
            owner=owner,
            owner_epoch=Login.owner_epoch + 1,
            dispatches=0,
            next_dispatch_at=func.now() + timedelta(seconds=DISPATCH_GRACE_SECONDS),
        )
        .returning(Login)
        .execution_options(populate_existing=True)
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
        .values(**_stamped(changes, public=public))
        .returning(Login.version)
    )
    if version is None:
        raise why_not(db, login_id)
    return version


def finish(
    db: DatabaseSession, *, login_id: str, status: str, epoch: int | None = None, **changes: Any
) -> Login | None:
    """End a live login.

    Args:
        status: a final status.
        epoch: the owner's, when the owner ends it; None when the user or the sweep does.

    Returns:
        The final row, or None when it was final already or another worker owns it: one caller wins.
    """
    assert status in FINAL_LOGIN_STATUSES
    statement = update(Login).where(Login.id == login_id, Login.status.in_(LIVE_LOGIN_STATUSES))
    if epoch is not None:
        statement = statement.where(Login.owner_epoch == epoch)
    ending = {
        "status": status,
        "finished_at": func.now(),
        "password_hint": None,
        "password_attempts_left": None,
        "code": None,
        "qr_expires_at": None,
        "phone_sealed": None,
    }
    return db.scalar(
        statement.values(**_stamped(ending | changes, public=True))
        .returning(Login)
        .execution_options(populate_existing=True)
    )


class Standing(NamedTuple):
    """What has become of logins that a worker thought its own: ``over`` ended, ``lost`` are driven by another."""

    over: set[str]
    lost: set[str]


def standing_of(db: DatabaseSession, epochs: dict[str, int]) -> Standing:
    """Look at the logins that a worker drives (id → epoch), in one query for all; those that are still its own are left out."""
    standing = Standing(over=set(), lost=set())
    rows = db.execute(select(Login.id, Login.owner_epoch, Login.status).where(Login.id.in_(epochs)))
    found = {login_id: (epoch, status) for login_id, epoch, status in rows}
    for login_id, epoch in epochs.items():
        owner_epoch, status = found.get(login_id, (epoch, "cancelled"))
        if owner_epoch != epoch:
            standing.lost.add(login_id)
        elif status in FINAL_LOGIN_STATUSES:
            standing.over.add(login_id)
    return standing


def due_for_dispatch(db: DatabaseSession, *, now: datetime, limit: int) -> list[str]:
    """Ids of logins that should be moving (or still have to be logged out) and were last sent long enough ago."""
    return list(
        db.scalars(
            select(Login.id)
            .where(
                Login.status.in_(LIVE_LOGIN_STATUSES) | Login.logout_pending,
                Login.next_dispatch_at <= now,
            )
            .order_by(Login.next_dispatch_at)
            .limit(limit)
        )
    )


def mark_dispatched(db: DatabaseSession, login_ids: list[str], *, now: datetime) -> None:
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


def put_off(db: DatabaseSession, login_ids: list[str], *, until: datetime) -> None:
    """Have the sweep look at these again only then: a worker holds them."""
    db.execute(
        update(Login)
        .where(Login.id.in_(login_ids))
        .values(next_dispatch_at=until)
        .execution_options(synchronize_session=False)
    )


def _stamped(changes: dict[str, Any], *, public: bool) -> dict[str, Any]:
    if not public:
        return changes
    return changes | {"version": Login.version + 1, "updated_at": utc_now()}


def why_not(db: DatabaseSession, login_id: str) -> LoginOver | OwnershipLost:
    """Tell an owner why its write changed nothing."""
    status = db.scalar(select(Login.status).where(Login.id == login_id))
    if status is None or status in FINAL_LOGIN_STATUSES:
        return LoginOver(f"Login {login_id} is over ({status or 'gone'}).")
    return OwnershipLost(f"Another worker drives login {login_id} now.")
