"""Where a scanned login becomes a session: who it is, the sealed session and the end of the login in one transaction.

What a session is made of is ``app.sessions.claim``'s.
"""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session as DatabaseSession

from app.errors import LoginOver, Unavailable
from app.logins.endings import LoginFailed, LoginWithdrawn, RunOutcome
from app.logins.link import Link
from app.logins.owned import OwnedLogin
from app.logins.store import end_as_owner
from app.models import Login
from app.sessions.claim import Account, Claimed, claim_session
from app.sessions.relogin import claim_again
from app.sessions.revocation import LOG_OUT_TASK

_TRIES = 12


async def become_session(owned: OwnedLogin, link: Link, account: Account) -> RunOutcome:
    """Store the session and end the login in one transaction; ask the replaced session to be logged out.

    Disconnects first: who hears of the session may lease it at once, and two connections on its auth key would be its end.

    Raises:
        LoginFailed: ``ownership_mismatch``: another account than the expected one scanned.
        LoginWithdrawn: the session to log in again for was revoked meanwhile.
        OwnershipLost, LoginOver: another worker, or the user, ended the login first; nothing was stored.
        Unavailable: PostgreSQL stayed away; the auth key is kept, and the next worker finds it authorized.
    """
    expected = owned.login.telegram_user_id
    if expected is not None and expected != account.telegram_user_id:
        raise LoginFailed("ownership_mismatch")
    connection = link.connection
    dc_id = connection.data_centre.dc_id
    string_session = (
        connection.string_session() if connection.has_address else await owned.in_thread(connection.string_session)
    )
    await link.leave()
    claimed = await _store_persistently(owned, account, string_session, dc_id)
    _measure(owned)
    await owned.tell()
    if claimed is None:
        owned.log.info("login.authorized", stored="by a try whose answer was lost")
        return RunOutcome("authorized")
    if claimed.replaced_id is not None:
        await owned.in_thread(owned.core.dispatch, LOG_OUT_TASK, claimed.replaced_id)
    owned.log.info("login.authorized", session_id=claimed.session_id, replaced=claimed.replaced_id)
    return RunOutcome("authorized")


async def _store_persistently(owned: OwnedLogin, account: Account, string_session: str, dc_id: int) -> Claimed | None:
    """Store, and try again while PostgreSQL is away. None: an earlier try of ours was committed, and its answer got lost."""
    for tries in range(1, _TRIES + 1):
        try:
            return await owned.transact(lambda db: _store(owned, db, account, string_session, dc_id))
        except LoginOver:
            if tries > 1 and await owned.transact(lambda db: _is_authorized(owned, db)):
                return None
            raise
        except Unavailable:
            if tries == _TRIES:
                raise
            await asyncio.sleep(min(tries, 5))
    raise AssertionError("the last try returns or raises")


def _store(owned: OwnedLogin, db: DatabaseSession, account: Account, string_session: str, dc_id: int) -> Claimed:
    core, login = owned.core, owned.login
    claim: dict[str, Any] = {
        "tenant_id": login.tenant_id,
        "account": account,
        "string_session": string_session,
        "dc_id": dc_id,
        "identity": owned.identity,
        "validation_interval_seconds": core.settings.validation_interval_seconds,
    }
    if login.relogin_session_id is not None:
        again = claim_again(db, core.keyring, actor=core.actor, session_id=login.relogin_session_id, **claim)
        if again is None:
            raise LoginWithdrawn
        claimed = again
    else:
        claimed = claim_session(
            db, core.keyring, metadata=login.client_metadata, end_user_id=login.end_user_id, **claim
        )
    ended = end_as_owner(
        db,
        login_id=login.id,
        epoch=login.owner_epoch,
        status="authorized",
        session_id=claimed.session_id,
        telegram_user_id=account.telegram_user_id,
        retry_after_at=None,
    )
    login.version = ended.version
    return claimed


def _is_authorized(owned: OwnedLogin, db: DatabaseSession) -> bool:
    login = owned.login
    row = db.execute(select(Login.status, Login.owner_epoch).where(Login.id == login.id)).one_or_none()
    return row is not None and (row.status, row.owner_epoch) == ("authorized", login.owner_epoch)


def _measure(owned: OwnedLogin) -> None:
    owned.count_scan()
    metrics = owned.core.metrics
    metrics.auth_qr_success.labels(tenant_id=owned.login.tenant_id).inc()
    if (seconds := owned.seconds_since_scan()) is not None:
        metrics.scan_to_authorized_seconds.observe(seconds)
