"""One run of ``run_qr_login``: take the login, drive it, write down how it ended, leave nothing behind.

The decision, in steps:

1. Take the login's lock; somebody else has it: leave.
2. Raise the row's epoch; it is over: leave.
3. Drive (``app.logins.drive``) until Telegram says who logged in, for as long as the login lives.
4. Somebody did: ``app.logins.become_session``.
5. Anything else: ``app.logins.end_without_session``. What this code cannot handle is an end, too: ``failed/internal_error``.
6. The login is another worker's by now: write nothing, log nothing out.
7. Always: log out what left the login, disconnect, release the lock.
"""

from __future__ import annotations

import asyncio

from app.core import Core
from app.errors import FloodWait, LoginOver, OwnershipLost, SealBroken, Transient, Unavailable
from app.identities import tenant_identity
from app.logins.become_session import become_session
from app.logins.drive import Drive
from app.logins.end_without_session import expire, fail, log_out, put_off, withdraw
from app.logins.endings import HANDED_OVER, NOT_MINE, OVER, LoginExpired, LoginFailed, LoginWithdrawn, RunOutcome
from app.logins.keeper import HandOver, Hold
from app.logins.link import Link
from app.logins.owned import LoginParts, OwnedLogin, with_keys
from app.logins.rows import Taken
from app.logins.secrets import auth_key_place
from app.models import Login
from app.sessions.claim import Account
from app.telegram.identity import identity_for
from app.vault.sealing import Sealed
from app.vault.wrapping import KeyUnavailable

_PASSING = (Unavailable, Transient, KeyUnavailable)
_NOT_OURS_TO_END = (LoginOver, OwnershipLost, HandOver)
_ENDED = ("expired", "failed", OVER.name)


async def run_login(parts: LoginParts, login_id: str) -> RunOutcome:
    """Drive a login as far as it goes. Safe to run twice, and anywhere.

    Raises:
        Unavailable, KeyUnavailable, Transient: something that is needed is away; the sweep sends the login again.
    """
    hold = await parts.keeper.acquire(login_id)
    if hold is None:
        return NOT_MINE
    try:
        hold.check()
        taken = await parts.rows.take(login_id)
        if taken is None:
            return NOT_MINE
        hold.epoch = taken.login.owner_epoch
        return await _run_taken(parts, hold, taken)
    except HandOver:
        return HANDED_OVER
    except (OwnershipLost, LoginOver):  # before anything was sent
        return NOT_MINE
    finally:
        await parts.keeper.release(hold)


async def _run_taken(parts: LoginParts, hold: Hold, taken: Taken) -> RunOutcome:
    core, runtime = parts.core, parts.telegram.runtime
    login, auth_key, broken = taken.login, None, None
    identity = identity_for(core.settings, taken.tenant.telegram)
    try:
        identity = await with_keys(runtime, tenant_identity, core.settings, core.keyring, taken.tenant)
        auth_key = await with_keys(runtime, _open_auth_key, core, login)
    except SealBroken as exc:
        broken = exc
    owned = OwnedLogin(parts, hold, login=login, identity=identity, auth_key=auth_key)
    if broken is not None:  # for good: no other worker would open it either
        owned.log.error("login.seal_broken", detail=broken.detail)
        return await fail(owned, LoginFailed("internal_error"))
    if owned.resumed:
        core.metrics.auth_qr_resumed.labels(tenant_id=login.tenant_id).inc()
        owned.log.info("login.resumed", epoch=login.owner_epoch, status=login.status)
    return await _run_owned(owned)


async def _run_owned(owned: OwnedLogin) -> RunOutcome:
    link = Link(owned)
    drive = Drive(owned, link)
    outcome = NOT_MINE
    try:
        outcome = await _drive_to_end(owned, link, drive)
    except LoginOver:
        outcome = OVER
    except OwnershipLost:
        owned.log.warning("login.ownership_lost", epoch=owned.login.owner_epoch)
    except HandOver:
        outcome = HANDED_OVER
    finally:
        if outcome.name in _ENDED:
            last_token = drive.qr_scan.last_token_expires_at
            await link.leave(first=lambda: log_out(owned, link, last_token_expires_at=last_token))
        else:
            await link.leave()
    return outcome


async def _drive_to_end(owned: OwnedLogin, link: Link, drive: Drive) -> RunOutcome:
    """Drive, and write down what came of it.

    Raises:
        LoginOver, OwnershipLost, HandOver: the login is not this worker's to end.
        Unavailable, KeyUnavailable, Transient: something that is needed is away.
    """
    try:
        return await _drive_on(owned, link, drive)
    except LoginFailed as exc:
        return await fail(owned, exc, account=link.account)
    except LoginWithdrawn:
        return await withdraw(owned)
    except (*_NOT_OURS_TO_END, *_PASSING):
        raise
    except Exception:  # the outermost edge of a login: sent again, it would meet the same defect
        owned.log.exception("login.defect")
        return await fail(owned, LoginFailed("internal_error"))


async def _drive_on(owned: OwnedLogin, link: Link, drive: Drive) -> RunOutcome:
    try:
        return await become_session(owned, link, await _account_in_time(owned, drive))
    except FloodWait as exc:
        return await put_off(owned, exc)
    except LoginExpired:
        return await expire(owned)


async def _account_in_time(owned: OwnedLogin, drive: Drive) -> Account:
    work = asyncio.create_task(drive.to_account())
    if await owned.within_life(work):
        return work.result()
    if drive.in_trouble:
        last_look = asyncio.create_task(drive.to_account())
        if await owned.within_life(last_look, last_chance=True):
            return last_look.result()
    raise LoginExpired


def _open_auth_key(core: Core, login: Login) -> bytes | None:
    if login.auth_key_sealed is None:
        return None
    assert login.key_id is not None
    return core.keyring.open(auth_key_place(login), Sealed(login.key_id, login.auth_key_sealed))
