"""The rows of leaving auth keys: what a login that ended without a session, or that changed its key, leaves to be logged out.

A key leaves in the transaction that takes it from its login: from that commit on it can become nobody's session, and so may be
logged out whatever happens. Whoever wants to do that claims the row first, one at a time.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, literal, select, update
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.models import LeavingAuthKey, Login
from app.settings import DataCentre

_LATE_SCAN_MARGIN = timedelta(seconds=5)
_DOUBT = timedelta(seconds=60)

OWNER_SECONDS = 15.0
"""How long the key of a login that just ended is left to the worker that drove it: it has the connection."""

CLAIM_SECONDS = 60.0
"""How long a claim lasts: longer than a try."""

_BACKOFF_SECONDS = (5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
MOST_TRIES = 30
"""More than a day of tries; a key that Telegram does not log out until then is given up."""


def final_ask_at(token_expires_at: datetime | None, *, doubted: bool = False) -> datetime:
    """When Telegram can be asked for the last time whether somebody is logged in with a key.

    Not before the last login token that was shown is dead, with a margin: a phone may accept it until then.

    Args:
        token_expires_at: by our clock; None: none was shown, or it has been accepted already.
        doubted: Telegram may have denied the key by mistake, which it does for seconds.
    """
    moment = utc_now() + (_DOUBT if doubted else timedelta())
    return moment if token_expires_at is None else max(moment, token_expires_at + _LATE_SCAN_MARGIN)


def move_auth_key(db: DatabaseSession, *conditions: Any, final_ask_at: datetime) -> None:
    """Let a login's sealed auth key leave, if it has one; its ciphertext moves as it is. The caller empties the login's column.

    Args:
        conditions: which row of ``Login``.
        final_ask_at: see the function of that name.
    """
    moved = select(
        Login.id,
        Login.id,
        Login.tenant_id,
        Login.key_id,
        Login.auth_key_sealed,
        Login.dc_id,
        Login.dc_host,
        Login.dc_port,
        literal(final_ask_at),
        literal(utc_now() + timedelta(seconds=OWNER_SECONDS)),
    ).where(Login.auth_key_sealed.is_not(None), *conditions)
    columns = ["id", "login_id", "tenant_id", "key_id", "auth_key_sealed", "dc_id", "dc_host", "dc_port"]
    db.execute(insert(LeavingAuthKey).from_select([*columns, "final_ask_at", "next_try_at"], moved))


def add_leaving_key(
    db: DatabaseSession,
    *,
    record_id: str,
    login: Login,
    sealed: bytes,
    data_centre: DataCentre,
    final_ask_at: datetime,
) -> None:
    """Note an auth key that a live login gave up.

    Args:
        record_id: what the key is sealed for.
        sealed: the key, sealed under the login's ``key_id``.
    """
    assert login.key_id is not None
    db.add(
        LeavingAuthKey(
            id=record_id,
            login_id=login.id,
            tenant_id=login.tenant_id,
            key_id=login.key_id,
            auth_key_sealed=sealed,
            dc_id=data_centre.dc_id,
            dc_host=data_centre.host,
            dc_port=data_centre.port,
            final_ask_at=final_ask_at,
            next_try_at=utc_now(),
        )
    )


def claim_first_try(db: DatabaseSession, leaving_id: str) -> bool:
    """Claim a key that nobody has tried to log out yet, for the worker that drove its login; one caller wins."""
    return _claim(db, LeavingAuthKey.id == leaving_id, LeavingAuthKey.tries == 0) is not None


def claim_due(db: DatabaseSession, leaving_id: str) -> LeavingAuthKey | None:
    """Claim a key whose turn it is; one caller wins.

    Returns:
        The row, or None: it is gone, or somebody else is at it.
    """
    return _claim(db, LeavingAuthKey.id == leaving_id, LeavingAuthKey.next_try_at <= func.now())


def due_leaving_keys(db: DatabaseSession, *, limit: int) -> list[str]:
    """Ids of keys whose turn it is, the most overdue first."""
    due = select(LeavingAuthKey.id).where(LeavingAuthKey.next_try_at <= func.now())
    return list(db.scalars(due.order_by(LeavingAuthKey.next_try_at).limit(limit)))


def settle(db: DatabaseSession, leaving_id: str, *, asked_at: datetime, final_ask_at: datetime | None = None) -> bool:
    """Note that nobody is logged in with this key: Telegram logged it out, or had nothing to log out.

    Args:
        asked_at: when Telegram was asked.
        final_ask_at: when that may be the last word, if the caller knows of a later time than the row.

    Returns:
        Whether it is, and the key is forgotten. Otherwise Telegram is asked once more at that time.
    """
    if final_ask_at is not None:
        later = func.greatest(LeavingAuthKey.final_ask_at, final_ask_at)
        db.execute(update(LeavingAuthKey).where(LeavingAuthKey.id == leaving_id).values(final_ask_at=later))
    gone = db.execute(
        delete(LeavingAuthKey).where(LeavingAuthKey.id == leaving_id, LeavingAuthKey.final_ask_at <= asked_at)
    )
    if gone.rowcount:  # type: ignore[attr-defined]  # a DELETE's result has it
        return True
    db.execute(
        update(LeavingAuthKey)
        .where(LeavingAuthKey.id == leaving_id)
        .values(next_try_at=LeavingAuthKey.final_ask_at, tries=1)
    )
    return False


def back_off(db: DatabaseSession, leaving_id: str, *, tries: int, wait_seconds: float = 0.0) -> None:
    """Try again later, after a longer pause each time.

    Args:
        tries: how many there have been.
        wait_seconds: not before that long: a flood wait.
    """
    pause = max(_BACKOFF_SECONDS[min(tries - 1, len(_BACKOFF_SECONDS) - 1)], wait_seconds)
    db.execute(
        update(LeavingAuthKey)
        .where(LeavingAuthKey.id == leaving_id)
        .values(next_try_at=utc_now() + timedelta(seconds=pause))
    )


def forget(db: DatabaseSession, leaving_id: str) -> None:
    """Give a key up: it cannot be opened, or Telegram does not log it out."""
    db.execute(delete(LeavingAuthKey).where(LeavingAuthKey.id == leaving_id))


def _claim(db: DatabaseSession, *conditions: Any) -> LeavingAuthKey | None:
    return db.scalar(
        update(LeavingAuthKey)
        .where(*conditions)
        .values(tries=LeavingAuthKey.tries + 1, next_try_at=func.now() + timedelta(seconds=CLAIM_SECONDS))
        .returning(LeavingAuthKey)
        .execution_options(populate_existing=True)
    )
