"""Writing down what a validation found. Each verdict ends the lease that it was found under, in the same statement.

A validation that was overtaken (its lease ran out, and somebody else took it) writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.core import Core
from app.models import TelegramSession
from app.sessions.claim import Account, lock_account, mask_phone
from app.sessions.events import queue_session_event
from app.sessions.holding import HeldSession
from app.sessions.schedule import next_slot
from app.sessions.store import DENIED, Release, find_active, release_held, release_many
from app.vault.audit import record_event
from app.webhooks.outbox import has_listener

IMPORTED = "imported"
"""A quarantined session's reason: a caller brought it. Any other came from a backup."""

ASK_AGAIN_SECONDS = (60.0, 300.0, 900.0)
"""After the first, second and third denial in a row a session is asked again after so long; a fourth one is its end."""

ERASED: dict[str, Any] = dict.fromkeys(("session_sealed", "proxy_sealed", "key_id", "auth_key_hash"))


class LoginLink(NamedTuple):
    """A login that was started for somebody, and where they find it. The page also needs the login's client secret, which
    stays sealed: it is added when the link is handed out."""

    login_id: str
    url: str


LogInAgain = Callable[[TelegramSession], LoginLink]
"""Starts a login for the user of a session that died. Passed in: logins stand above sessions."""

ValidationOutcome = Literal[
    "ok",
    "invalid",
    "denied",
    "paused",
    "ownership_mismatch",
    "duplicate",
    "flood_wait",
    "unreachable",
    "refused",
    "sealed",
    "lost",
    "error",
]
"""What a validation came to; the metric's label."""


def found_alive(core: Core, held: HeldSession, account: Account) -> ValidationOutcome:
    """Telegram answered with the session's account: refresh it; one that was quarantined becomes active, or is refused."""
    with core.transaction() as db:
        if held.row.status == "quarantined":
            return _admit(core, db, held, account)
        written = _release(db, held, _alive_now(core, held, account) | _names(held.row, account))
    return "ok" if written else "lost"


class FoundAlive(NamedTuple):
    """A session that Telegram answered with its account."""

    held: HeldSession
    account: Account


def found_as_it_was(found: FoundAlive) -> bool:
    """Whether a living session is active and known by these names already: then ``found_alive_together`` may write it."""
    return found.held.row.status == "active" and not _names(found.held.row, found.account)


def found_alive_together(core: Core, found: Sequence[FoundAlive]) -> set[str]:
    """As ``found_alive``, for many sessions that are as they were, in one statement.

    Returns:
        The ids of those that were written; the others are for ``found_alive`` (``release_many``).
    """
    releases, alive = [], {}
    for held, account in found:
        alive = _alive_now(core, held, account)
        releases.append(Release(held.row.id, held.lease_id, alive.pop("next_validation_at")))
    with core.transaction() as db:
        return release_many(db, releases, status="active", updated_at=utc_now(), **alive)


def found_dead(core: Core, held: HeldSession, *, cause: str, log_in_again: LogInAgain) -> ValidationOutcome:
    """Telegram said that the authorization is over: the session is invalid, and its tenant hears of it.

    The ciphertext stays until the session is deleted: an account that was banned may come back.

    Raises:
        Unavailable: PostgreSQL or Redis is away; nothing was written.
    """
    link = _start_login(core, held.row, log_in_again)
    with core.transaction() as db:
        if not _end(core, db, held, reason=cause, link=link, auth_key_hash=None):
            return "lost"
    return "invalid"


def found_denied(core: Core, held: HeldSession, *, log_in_again: LogInAgain) -> ValidationOutcome:
    """Telegram does not know the auth key. That is ambiguous: an active session is quarantined, and asked again three times.

    One that came from a caller or from a backup never was known to be alive here: it is invalid at once.

    Raises:
        Unavailable: PostgreSQL or Redis is away; nothing was written.
    """
    row = held.row
    doubted = row.status == "active" or row.reason == DENIED
    if not doubted or row.denials >= len(ASK_AGAIN_SECONDS):
        return found_dead(core, held, cause=DENIED, log_in_again=log_in_again)
    first = row.status == "active"
    changes: dict[str, Any] = {
        "denials": row.denials + 1,
        "next_validation_at": utc_now() + timedelta(seconds=ASK_AGAIN_SECONDS[row.denials]),
    }
    if first:
        changes |= {"status": "quarantined", "reason": DENIED, "version": TelegramSession.version + 1}
    with core.transaction() as db:
        written = _release(db, held, changes)
        if written is None:
            return "lost"
        if first:
            _audit(core, db, written, action="session.quarantined", reason=DENIED)
    return "denied"


def refuse_import(core: Core, held: HeldSession, *, reason: ValidationOutcome, cause: str) -> ValidationOutcome:
    """End a quarantined session that may not be used here: erased, and not logged out, for it belongs to whoever brought it."""
    with core.transaction() as db:
        return reason if _end(core, db, held, reason=cause, link=None, **ERASED) else "lost"


def found_nothing(
    core: Core, held: HeldSession, *, outcome: ValidationOutcome, wait_seconds: float | None = None
) -> ValidationOutcome:
    """Nothing is known: no harm is done, and the session's turn comes again.

    Args:
        wait_seconds: not before that long; None: at its next slot.
    """
    now = utc_now()
    again_at = next_slot(held.row.id, now=now, interval_seconds=core.settings.validation_interval_seconds)
    if wait_seconds is not None:
        again_at = now + timedelta(seconds=wait_seconds)
    with core.transaction() as db:
        return outcome if _release(db, held, {"next_validation_at": again_at}) else "lost"


def _admit(core: Core, db: DatabaseSession, held: HeldSession, account: Account) -> ValidationOutcome:
    """Make a quarantined session active, unless it is somebody else's, or its user has an active one: never two."""
    row = held.row
    if row.telegram_user_id not in (None, account.telegram_user_id):
        core.metrics.ownership_mismatch.labels(tenant_id=row.tenant_id).inc()
        return _refused(core, db, held, "ownership_mismatch", "ownership_mismatch", account)
    lock_account(db, tenant_id=row.tenant_id, telegram_user_id=account.telegram_user_id)
    if find_active(db, tenant_id=row.tenant_id, telegram_user_id=account.telegram_user_id):
        if row.reason == IMPORTED:
            return _refused(core, db, held, "duplicate", "session_exists", account)
        return _replace(db, held, account)
    changes = _alive_now(core, held, account) | {
        "status": "active",
        "reason": None,
        "version": TelegramSession.version + 1,
        "telegram_user_id": account.telegram_user_id,
        # It was here all the time, or somebody has just brought it.
        "last_used_at": TelegramSession.last_used_at if row.reason == DENIED else utc_now(),
        "username": account.username,
        "first_name": account.first_name,
        "phone_masked": mask_phone(account.phone),
    }
    if not _release(db, held, changes):
        return "lost"
    _audit(core, db, row, action="session.admitted", reason=row.reason or "validated")
    return "ok"


def _refused(
    core: Core, db: DatabaseSession, held: HeldSession, outcome: ValidationOutcome, reason: str, account: Account
) -> ValidationOutcome:
    details = {"expected_telegram_user_id": held.row.telegram_user_id, "telegram_user_id": account.telegram_user_id}
    return outcome if _end(core, db, held, reason=reason, link=None, details=details, **ERASED) else "lost"


def _replace(db: DatabaseSession, held: HeldSession, account: Account) -> ValidationOutcome:
    """A restored session whose user has logged in anew since: the newest wins, and this one is logged out."""
    changes = {
        "status": "replaced",
        "version": TelegramSession.version + 1,
        "telegram_user_id": account.telegram_user_id,
        "next_validation_at": None,
        "logout_pending": True,
        "next_logout_at": utc_now(),
    }
    written = _release(db, held, changes)
    if written is None:
        return "lost"
    queue_session_event(db, "session.replaced", written)
    return "duplicate"


def _end(
    core: Core,
    db: DatabaseSession,
    held: HeldSession,
    *,
    reason: str,
    link: LoginLink | None,
    details: dict[str, Any] | None = None,
    **changes: Any,
) -> bool:
    written = _release(
        db,
        held,
        {"status": "invalid", "reason": reason, "version": TelegramSession.version + 1, "next_validation_at": None}
        | changes,
    )
    if written is None:
        return False
    _audit(core, db, written, action="session.invalid", reason=reason, details=details)
    login = {"login_id": link.login_id, "login_url": link.url} if link else {"login_id": None, "login_url": None}
    queue_session_event(db, "session.invalid", written, **login)
    return True


def _start_login(core: Core, row: TelegramSession, log_in_again: LogInAgain) -> LoginLink | None:
    # A login costs a worker ten minutes of waiting: not when nobody would hear of it, or the user has logged in already.
    with core.transaction() as db:
        wanted = has_listener(db, tenant_id=row.tenant_id) and not _has_newer(db, row)
    return log_in_again(row) if wanted else None


def _has_newer(db: DatabaseSession, row: TelegramSession) -> bool:
    if row.status == "active" or row.telegram_user_id is None:
        return False
    return find_active(db, tenant_id=row.tenant_id, telegram_user_id=row.telegram_user_id) is not None


def _release(db: DatabaseSession, held: HeldSession, changes: dict[str, Any]) -> TelegramSession | None:
    return release_held(
        db,
        session_id=held.row.id,
        lease_id=held.lease_id,
        # A revocation may have begun meanwhile; its word stands.
        conditions=(TelegramSession.status == held.row.status,),
        updated_at=utc_now(),
        **changes,
    )


def _alive_now(core: Core, held: HeldSession, account: Account) -> dict[str, Any]:
    now = utc_now()
    return {
        "last_validated_at": now,
        "next_validation_at": next_slot(
            held.row.id, now=now, interval_seconds=core.settings.validation_interval_seconds
        ),
        "denials": 0,
        "reported_dead_at": None,
    }


def _names(row: TelegramSession, account: Account) -> dict[str, Any]:
    names = {
        "username": account.username,
        "first_name": account.first_name,
        "phone_masked": mask_phone(account.phone),
    }
    # The version counts what a backup must hold; a validation that found nothing new is no reason for one.
    unchanged = all(getattr(row, name) == value for name, value in names.items())
    return {} if unchanged else names | {"version": TelegramSession.version + 1}


def _audit(
    core: Core,
    db: DatabaseSession,
    row: TelegramSession,
    *,
    action: str,
    reason: str,
    details: dict[str, Any] | None = None,
) -> None:
    record_event(
        db,
        tenant_id=row.tenant_id,
        actor=core.actor,
        action=action,
        subject=row.id,
        reason=reason,
        details=details,
    )
