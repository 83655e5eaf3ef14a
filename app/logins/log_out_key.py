"""Logging out the auth key of a login that never became a session, as often as it takes.

The decision, for one key:

1. Claim its row. Somebody else is at it, or it is gone: nothing to do.
2. ``auth.logOut`` on a connection of its own. That Telegram knows nobody under this key is as good.
3. Before the last login token that was shown is dead, a phone may still have it accepted: then ask once more after that.
4. A refusal, a flood wait, no answer: try again later, after a longer pause each time.
5. A key that does not open, or is refused for more than a day, is given up, which the audit and the log say.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime
from typing import Literal

from telethon.tl.functions.auth import LogOutRequest

from app.clock import utc_now
from app.core import Core
from app.correlation import correlate
from app.errors import AppError, FloodWait, SealBroken
from app.identities import tenant_identity
from app.logins.leaving_keys import MOST_TRIES, back_off, claim_due, due_leaving_keys, forget, settle
from app.logs import get_logger
from app.models import LeavingAuthKey, Tenant
from app.settings import DataCentre
from app.telegram.calls import PacedCaller
from app.telegram.connection import TelegramConnection
from app.telegram.errors import NotAuthorized
from app.telegram.gates import Caller
from app.telegram.identity import ApiIdentity
from app.telegram.process import TelegramParts
from app.vault.audit import record_event
from app.vault.places import LEAVING_AUTH_KEYS
from app.vault.sealing import Place, Sealed

LOG_OUT_KEY_TASK = "latchkey.log_out_auth_key"

LogOut = Literal["done", "again", "put_off", "given_up"]
"""What a try came to. ``again``: done, but for a phone that may still accept the last login token."""

_TRY_SECONDS = 40.0
_SWEEP = 200

_log = get_logger(__name__)


def sweep_leaving_keys(core: Core) -> int:
    """Send a task for each key whose turn it is, a batch at most.

    Returns:
        How many were sent.

    Raises:
        Unavailable: PostgreSQL is away; the next sweep does it.
    """
    with core.transaction() as db:
        due = due_leaving_keys(db, limit=_SWEEP)
    for leaving_id in due:
        core.dispatch(LOG_OUT_KEY_TASK, leaving_id)
    return len(due)


async def log_out_key(core: Core, telegram: TelegramParts, leaving_id: str) -> LogOut | None:
    """Log out a leaving auth key. May be repeated, by any number of workers.

    Returns:
        None: it is not its turn.

    Raises:
        Unavailable: PostgreSQL is away; the sweep sends it again.
    """
    in_thread = telegram.runtime.in_thread
    claimed = await in_thread(_claim, core, leaving_id)
    if claimed is None:
        return None
    row, tenant = claimed
    correlate(login_id=row.login_id)
    try:
        outcome = await _try(core, telegram, row, tenant)
    except SealBroken as exc:
        _log.error("login.key_does_not_open", login_id=row.login_id, detail=exc.detail)
        outcome = await in_thread(_give_up, core, row, reason=exc.code)
    core.metrics.key_log_outs.labels(outcome=outcome).inc()
    return outcome


def _claim(core: Core, leaving_id: str) -> tuple[LeavingAuthKey, Tenant] | None:
    with core.transaction() as db:
        row = claim_due(db, leaving_id)
        if row is None:
            return None
        return row, db.get_one(Tenant, row.tenant_id)


async def _try(core: Core, telegram: TelegramParts, row: LeavingAuthKey, tenant: Tenant) -> LogOut:
    in_thread = telegram.runtime.in_thread
    asked_at = utc_now()
    try:
        auth_key = await in_thread(_open, core, row)
        identity = await in_thread(tenant_identity, core.settings, core.keyring, tenant)
        async with asyncio.timeout(_TRY_SECONDS):
            await _log_out(core, telegram, row, identity, auth_key)
    except SealBroken:
        raise
    except (AppError, TimeoutError) as exc:
        _log.info("login.log_out_put_off", login_id=row.login_id, tries=row.tries, error=type(exc).__name__)
        if row.tries >= MOST_TRIES:
            return await in_thread(_give_up, core, row, reason="refused")
        wait_seconds = telegram.floods.countdown(exc.wait_seconds) if isinstance(exc, FloodWait) else 0.0
        return await in_thread(_put_off, core, row, wait_seconds)
    done = await in_thread(_settle, core, row, asked_at)
    _log.info("login.key_logged_out", login_id=row.login_id, last_word=done)
    return "done" if done else "again"


async def _log_out(
    core: Core, telegram: TelegramParts, row: LeavingAuthKey, identity: ApiIdentity, auth_key: bytes
) -> None:
    connection = TelegramConnection(
        identity=identity,
        data_centre=DataCentre(dc_id=row.dc_id, host=row.dc_host, port=row.dc_port),
        auth_key=auth_key,
        handshakes=telegram.handshakes,
        receive_updates=False,
    )
    who = Caller(core.settings, api_id=identity.api_id, login_id=row.login_id, auth_key=auth_key)
    caller = PacedCaller(floods=telegram.floods, metrics=core.metrics, caller=who, fresh=False)
    try:
        with contextlib.suppress(NotAuthorized):
            await connection.open()
            await caller.call(connection, LogOutRequest())
    finally:
        await connection.close()


def _open(core: Core, row: LeavingAuthKey) -> bytes:
    place = Place(LEAVING_AUTH_KEYS.purposes["auth_key_sealed"], row.tenant_id, row.id)
    return core.keyring.open(place, Sealed(row.key_id, row.auth_key_sealed))


def _settle(core: Core, row: LeavingAuthKey, asked_at: datetime) -> bool:
    with core.transaction() as db:
        return settle(db, row.id, asked_at=asked_at)


def _put_off(core: Core, row: LeavingAuthKey, wait_seconds: float) -> LogOut:
    with core.transaction() as db:
        back_off(db, row.id, tries=row.tries, wait_seconds=wait_seconds)
    return "put_off"


def _give_up(core: Core, row: LeavingAuthKey, *, reason: str) -> LogOut:
    with core.transaction() as db:
        forget(db, row.id)
        record_event(
            db,
            tenant_id=row.tenant_id,
            actor=core.actor,
            action="login.log_out_given_up",
            subject=row.login_id,
            reason=reason,
            details={"tries": row.tries, "dc_id": row.dc_id},
        )
    _log.error("login.log_out_given_up", login_id=row.login_id, reason=reason, tries=row.tries)
    return "given_up"
