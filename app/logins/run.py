"""One run of ``run_qr_login``: take the login, converse with Telegram, write down how it ended, leave nothing behind.

The decision, in steps:

1. Take the login's lock; somebody else has it: leave.
2. Raise the row's epoch; it is final: only see to a log-out that is still due.
3. Converse (``_drive``) until Telegram says who scanned, within the login's life, through lost connections and outages.
4. Authorized: check who it is, then store the session and end the login in one transaction.
5. Anything else: write the ending; what could be authorized at Telegram is logged out.
6. Always: disconnect, give the lock back.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from app.core import Core
from app.errors import FloodWait, LoginOver, OwnershipLost, Transient, Unavailable
from app.logins.conversation import END_EARLY_SECONDS, Conversation, Standing
from app.logins.endings import HANDED_OVER, NOT_MINE, LoginExpired, LoginFailed, Outcome
from app.logins.finishing import claim, clean_up, end, fail, log_out_late, put_off_or_fail
from app.logins.keeper import HandOver, Hold, LoginKeeper
from app.logins.password import ask_password
from app.logins.phone_code import sign_in_by_code
from app.logins.qr import scan
from app.logins.secrets import auth_key_place
from app.logins.store import take
from app.logins.view import FailureReason
from app.logs import get_logger
from app.models import Login, Tenant
from app.telegram.errors import MigrateTo, NotAuthorized, PasswordNeeded, TelegramRefused
from app.telegram.identity import ApiIdentity, identity_for
from app.telegram.parts import TelegramParts
from app.vault.sealing import Sealed

_CALM_SECONDS = 30.0  # without a failure for that long, the next one is a first one again
_REFUSALS: dict[str, FailureReason] = {
    "API_ID_INVALID": "api_id_invalid",
    "API_ID_PUBLISHED_FLOOD": "api_id_invalid",
    "PHONE_NUMBER_BANNED": "account_banned",
    "PHONE_NUMBER_INVALID": "phone_invalid",
    "PHONE_NUMBER_FLOOD": "flood_wait",
    "PHONE_PASSWORD_FLOOD": "flood_wait",
}

_log = get_logger(__name__)


@dataclass(frozen=True)
class _Taken:
    """A login that this worker owns now, with what was needed to open."""

    login: Login
    identity: ApiIdentity
    auth_key: bytes | None


async def run_login(core: Core, telegram: TelegramParts, keeper: LoginKeeper, login_id: str) -> Outcome:
    """Drive a login as far as it goes. Safe to run twice, and anywhere.

    Raises:
        Unavailable: PostgreSQL or Redis is away before anything began; the sweep sends the login again.
    """
    hold = await keeper.acquire(login_id)
    if hold is None:
        return NOT_MINE
    try:
        hold.check()
        taken = await telegram.runtime.in_thread(_take, core, login_id)
        if taken is None:
            return NOT_MINE
        hold.epoch = taken.login.owner_epoch
        talk = Conversation(
            core=core,
            telegram=telegram,
            keeper=keeper,
            hold=hold,
            login=taken.login,
            identity=taken.identity,
            auth_key=taken.auth_key,
        )
        if taken.login.finished_at is not None:
            return await log_out_late(talk)
        return await _run(talk, hold)
    except HandOver:
        return HANDED_OVER
    finally:
        await keeper.release(hold)


def _take(core: Core, login_id: str) -> _Taken | None:
    with core.transaction() as db:
        login = take(db, login_id=login_id, owner=core.actor)
        if login is None:
            login = db.get(Login, login_id)
            if login is None or not login.logout_pending:
                return None
        tenant = db.get_one(Tenant, login.tenant_id)
        identity = identity_for(core.settings, tenant.telegram)
        auth_key = None
        if login.auth_key_sealed is not None:
            assert login.key_id is not None
            auth_key = core.keyring.open(auth_key_place(login), Sealed(login.key_id, login.auth_key_sealed))
        return _Taken(login=login, identity=identity, auth_key=auth_key)


async def _run(talk: Conversation, hold: Hold) -> Outcome:
    if talk.resumed:
        talk.core.metrics.auth_qr_resumed.labels(tenant_id=talk.login.tenant_id).inc()
        talk.log.info("login.resumed", epoch=talk.login.owner_epoch, status=talk.login.status)
    outcome = NOT_MINE
    try:
        outcome = await _converse(talk, hold)
    finally:
        await clean_up(talk, log_out=outcome.name in ("expired", "failed", "cancelled"))
    return outcome


async def _converse(talk: Conversation, hold: Hold) -> Outcome:
    try:
        await _drive_bounded(talk, hold)
        return await claim(talk)
    except HandOver:
        return HANDED_OVER
    except OwnershipLost:
        talk.log.warning("login.ownership_lost", epoch=talk.login.owner_epoch)
        return NOT_MINE
    except LoginOver:
        return Outcome("cancelled")
    except FloodWait as exc:
        return await put_off_or_fail(talk, exc)
    except LoginExpired:
        if talk.login.published_at is None and talk.login.method == "qr":
            return await fail(talk, LoginFailed("telegram_unavailable"))
        return await end(talk, "expired")
    except LoginFailed as exc:
        return await fail(talk, exc)


async def _drive_bounded(talk: Conversation, hold: Hold) -> None:
    """Drive until the account is known, for as long as the login lives; ``Hold.stop`` ends it any time."""
    task = hold.task = asyncio.create_task(_drive(talk))
    # Somebody may have scanned while no worker was there: one that comes late still asks once.
    bound = max(talk.remaining_seconds(), END_EARLY_SECONDS if talk.resumed else 0.0)
    try:
        hold.check()
        await asyncio.wait({task}, timeout=bound)
    finally:
        hold.task = None
        task.cancel()
        await asyncio.wait({task})
    if task.cancelled():
        hold.check()
        raise LoginExpired
    task.result()


async def _drive(talk: Conversation) -> None:
    failures, failed_at = 0, 0.0
    while True:
        try:
            await talk.connect()
            return await _to_account(talk)
        except FloodWait:
            raise
        except Unavailable as exc:
            talk.log.warning("login.waits_for_storage", detail=exc.detail)
        except Transient as exc:
            if failures == 0:  # an outage is said once by each login, not at every try
                talk.log.info("login.connection_lost", detail=exc.detail)
            await talk.disconnect()
        except NotAuthorized as exc:
            talk.fail_if_dead(exc)
            talk.log.info("login.auth_key_dead", cause=exc.cause)
            await talk.disconnect()
            talk.forget_auth_key()
        except (PasswordNeeded, MigrateTo) as exc:
            # Said where it was not to be expected: the question where the key stands will be answered with it too.
            talk.log.info("login.begins_again", detail=exc.detail)
            await talk.disconnect()
        except TelegramRefused as exc:
            talk.log.warning("login.refused", error=exc.error, method=exc.method)
            raise LoginFailed(_REFUSALS.get(exc.error, "internal_error")) from exc
        failures = failures + 1 if talk.now() - failed_at < _CALM_SECONDS else 0
        failed_at = talk.now()
        await talk.pause(failures)


async def _to_account(talk: Conversation) -> None:
    """Go from wherever the auth key stands to an authorized account. After any break it can begin again."""
    standing = Standing.UNAUTHORIZED if talk.key_is_new else await talk.standing()
    if standing is not Standing.AUTHORIZED and talk.remaining_seconds() <= 0:
        raise LoginExpired
    if standing is Standing.UNAUTHORIZED:
        standing = await (scan(talk) if talk.login.method == "qr" else sign_in_by_code(talk))
    if standing is Standing.PASSWORD:
        standing = await ask_password(talk)
    if talk.account is None and await talk.standing() is not Standing.AUTHORIZED:
        raise Transient("Telegram said that the login succeeded, and then that it had not.")
