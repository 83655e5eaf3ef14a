"""Validating sessions: asking Telegram whose they are, which tells whether they still are.

The decision, for one session:

1. Take its lease, if its ticket is still good and nobody uses it.
2. Make sure that no other session has its auth key (a restored one may), before that key is used. Find out where its data
   centre is, if it was brought without that (``app.sessions.locating``).
3. Ask ``users.getUsers`` for ourselves, on a connection that wants no updates.
4. An answer: alive. A word from Telegram that the authorization is over: dead, by its cause. AUTH_KEY_UNREGISTERED is
   ambiguous: asked again on a new connection first, then the session is quarantined and asked again after 1, 5 and 15 minutes,
   and only then dead. When many sessions die within a minute, none is declared dead (``app.sessions.mass_death``). Anything
   else (network, timeout, flood wait, 5xx, a refusal): nothing is known, and nothing changes.
5. Disconnect, then write the verdict and give the lease up in one statement.
6. Once a day, see whether dead logins of ours are left on the account (``app.sessions.ghosts``).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from telethon.tl.functions.users import GetUsersRequest
from telethon.tl.types import InputUserSelf

from app.clock import utc_now
from app.core import Core
from app.errors import AppError, FloodWait, SealBroken, Transient, Unavailable
from app.logs import get_logger
from app.sessions.claim import Account
from app.sessions.ghosts import end_ghosts, is_due
from app.sessions.holding import HeldSession, HoldLost, claim_auth_key, release_session
from app.sessions.locating import locate_session
from app.sessions.mass_death import is_paused, note_death
from app.sessions.planning import plan_batch, put_back
from app.sessions.schedule import next_slot
from app.sessions.validation_rows import ValidationRows
from app.sessions.verdicts import (
    LogInAgain,
    ValidationOutcome,
    found_dead,
    found_denied,
    found_nothing,
    refuse_import,
)
from app.sessions.visit import Visit
from app.sessions.whose import account_of
from app.telegram.data_centres import AddressUnknown
from app.telegram.errors import NotAuthorized, PasswordNeeded
from app.telegram.process import TelegramParts
from app.vault.wrapping import KeyUnavailable

SESSIONS_AT_ONCE = 96
START_SECONDS = 15.0
"""A batch starts no session after that long, so that a worker that must leave can; the rest is due again soon."""

_VISIT_SECONDS = 40.0
_GHOSTS_SECONDS = 10.0
_ASK_AGAIN_SECONDS = 2.0  # for 1-2 s after a migration AUTH_KEY_UNREGISTERED can be wrong
_UNREACHABLE_SECONDS = 300.0

_log = get_logger(__name__)


async def validate_batch(
    core: Core,
    telegram: TelegramParts,
    *,
    session_ids: Sequence[str],
    ticket: datetime,
    log_in_again: LogInAgain,
    at_once: int = SESSIONS_AT_ONCE,
    stop_at: float | None = None,
) -> Counter[ValidationOutcome]:
    """Validate planned sessions, some at once. May be repeated: the ticket lets each be validated once.

    Once the validator pauses, no other is begun: they are due again when their ticket ends.

    Args:
        ticket: the ``next_validation_at`` that they were planned with.
        stop_at: by ``time.monotonic``, from when on no session is begun; None: ``START_SECONDS`` from now.

    Returns:
        How many came to which outcome; those whose ticket had gone are left out.
    """
    outcomes: Counter[ValidationOutcome] = Counter()
    waiting = iter(session_ids)
    rows, paused = ValidationRows(core, telegram, ticket=ticket), False
    stop_at = time.monotonic() + START_SECONDS if stop_at is None else stop_at

    async def work() -> None:
        nonlocal paused
        for session_id in waiting:
            outcome = await _validate(core, telegram, rows, session_id, ticket, log_in_again)
            if outcome is not None:
                outcomes[outcome] += 1
            paused = paused or outcome == "paused"
            if paused or time.monotonic() > stop_at:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, len(session_ids))):
            group.create_task(work())
    return outcomes


async def validate_what_is_due(
    core: Core, telegram: TelegramParts, *, session_ids: Sequence[str], ticket: datetime, log_in_again: LogInAgain
) -> None:
    """Validate a planned batch, and then batch by batch whatever is due meanwhile, for ``START_SECONDS`` in all.

    So the pace is the workers' and not that of the plan, whose messages only say that there is something to do.
    """
    stop_at = time.monotonic() + START_SECONDS
    while session_ids and time.monotonic() < stop_at:
        await validate_batch(
            core, telegram, session_ids=session_ids, ticket=ticket, log_in_again=log_in_again, stop_at=stop_at
        )
        ticket, session_ids = await _plan_next(core, telegram)
    if session_ids:
        await telegram.runtime.in_thread(put_back, core, session_ids, ticket=ticket)


async def _plan_next(core: Core, telegram: TelegramParts) -> tuple[datetime, list[str]]:
    ticket, session_ids = await telegram.runtime.in_thread(plan_batch, core)
    if not session_ids:  # nothing is due, or another worker was planning the very same sessions
        await asyncio.sleep(random.uniform(0.05, 0.3))  # noqa: S311  # spreads load only
        ticket, session_ids = await telegram.runtime.in_thread(plan_batch, core)
    return ticket, session_ids


async def _validate(
    core: Core,
    telegram: TelegramParts,
    rows: ValidationRows,
    session_id: str,
    ticket: datetime,
    log_in_again: LogInAgain,
) -> ValidationOutcome | None:
    """Validate one session; never raises.

    Returns:
        None: its ticket has gone, or somebody holds it.
    """
    outcome: ValidationOutcome = "error"
    try:
        held = await rows.hold(session_id)
        if held is None:
            return None
        outcome = await _validate_held(core, telegram, rows, held, log_in_again)
    except (Unavailable, Transient) as exc:
        _log.warning("validation.put_off", session_id=session_id, detail=exc.detail)
        return None
    except (SealBroken, KeyUnavailable) as exc:
        _log.error("validation.sealed", session_id=session_id, code=exc.code, detail=exc.detail)
        outcome = "sealed"
        with contextlib.suppress(Unavailable):  # then it is due again when its ticket ends
            await telegram.runtime.in_thread(_skip_turn, core, session_id, ticket)
    except Exception:  # noqa: BLE001  # the outermost edge of this session's part of the task: its batch goes on
        _log.exception("validation.failed", session_id=session_id)
    core.metrics.session_validations.labels(outcome=outcome).inc()
    return outcome


def _skip_turn(core: Core, session_id: str, ticket: datetime) -> None:
    interval = core.settings.validation_interval_seconds
    again_at = next_slot(session_id, now=utc_now(), interval_seconds=interval)
    put_back(core, [session_id], ticket=ticket, until=again_at)


async def _validate_held(
    core: Core, telegram: TelegramParts, rows: ValidationRows, held: HeldSession, log_in_again: LogInAgain
) -> ValidationOutcome:
    in_thread = telegram.runtime.in_thread
    try:
        if held.row.auth_key_hash is None and not await in_thread(claim_auth_key, core, held):
            outcome = await in_thread(refuse_import, core, held, reason="duplicate", cause="session_exists")
        else:
            outcome = await _examine(core, telegram, rows, held, log_in_again)
    except BaseException:
        await in_thread(release_session, core, held)
        raise
    if outcome == "lost":  # the verdict was not written, so it did not end the lease either
        await in_thread(release_session, core, held)
    return outcome


async def _examine(
    core: Core, telegram: TelegramParts, rows: ValidationRows, held: HeldSession, log_in_again: LogInAgain
) -> ValidationOutcome:
    in_thread = telegram.runtime.in_thread
    try:
        held = await locate_session(core, telegram, held)
        account = await _ask(core, telegram, held)
    except AddressUnknown:
        return await in_thread(refuse_import, core, held, reason="invalid", cause="data_centre_unknown")
    except (NotAuthorized, PasswordNeeded) as exc:
        return await in_thread(_declare, core, held, exc, log_in_again)
    except FloodWait as exc:
        wait_seconds = telegram.floods.countdown(exc.wait_seconds)
        return await in_thread(found_nothing, core, held, outcome="flood_wait", wait_seconds=wait_seconds)
    except HoldLost:
        return "lost"
    except (Transient, TimeoutError, Unavailable):
        interval = core.settings.validation_interval_seconds
        wait_seconds = min(interval, _UNREACHABLE_SECONDS) * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load only
        return await in_thread(found_nothing, core, held, outcome="unreachable", wait_seconds=wait_seconds)
    except AppError as exc:
        _log.warning("validation.refused", session_id=held.row.id, detail=exc.detail)
        return await in_thread(found_nothing, core, held, outcome="refused")
    return await rows.found_alive(held, account)


def _declare(
    core: Core, held: HeldSession, error: NotAuthorized | PasswordNeeded, log_in_again: LogInAgain
) -> ValidationOutcome:
    """Write down that Telegram denied the session or ended it, unless too many have died at once."""
    cause = error.cause if isinstance(error, NotAuthorized) else "password_needed"
    _log.info("session.dead", session_id=held.row.id, tenant_id=held.row.tenant_id, cause=cause)
    was_alive_here = held.row.status == "active"
    if note_death(core, session_id=held.row.id) if was_alive_here else is_paused(core):
        return found_nothing(core, held, outcome="paused")
    if isinstance(error, NotAuthorized) and error.ambiguous:
        return found_denied(core, held, log_in_again=log_in_again)
    return found_dead(core, held, cause=cause, log_in_again=log_in_again)


async def _ask(core: Core, telegram: TelegramParts, held: HeldSession) -> Account:
    async with asyncio.timeout(min(_VISIT_SECONDS, held.left_seconds())), Visit(core, telegram, held) as visit:
        try:
            account = await _whose(visit)
        except NotAuthorized as exc:
            if not exc.ambiguous:
                raise
            await visit.close()
            await asyncio.sleep(_ASK_AGAIN_SECONDS)
            account = await _whose(visit)
        if is_due(held.row):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GHOSTS_SECONDS):
                    await end_ghosts(core, telegram, visit, held)
        return account


async def _whose(visit: Visit) -> Account:
    users: list[Any] = await visit.call(GetUsersRequest([InputUserSelf()]))
    return account_of(users)
