"""Importing: a string session that a caller brings becomes a session of theirs, once Telegram has said whose it is.

It is sealed at once and stays ``quarantined`` until the validator has asked. One that turns out to be another account's, or a
second one of an account that has an active session, is refused: erased, and not logged out, for the authorization belongs to
whoever brought it.
"""

from __future__ import annotations

import ipaddress
from datetime import timedelta

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.core import Core
from app.errors import Conflict, InvalidInput
from app.ids import new_id
from app.models import TelegramSession, Tenant
from app.sessions.claim import lock_account
from app.sessions.planning import TICKET_SECONDS, VALIDATE_BATCH_TASK
from app.sessions.store import find_active, fingerprint
from app.sessions.verdicts import IMPORTED
from app.settings import DataCentre, Settings
from app.telegram.identity import identity_for
from app.telegram.string_sessions import addresses_of, plain_address, read_string_session
from app.vault.audit import record_event
from app.vault.opening import seal_session
from app.vault.places import session_proxy_place

TELEGRAM_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "91.105.192.0/23",
        "91.108.4.0/22",
        "91.108.8.0/22",
        "91.108.12.0/22",
        "91.108.16.0/22",
        "91.108.20.0/22",
        "91.108.56.0/22",
        "149.154.160.0/20",
        "185.76.151.0/24",
        "2001:67c:4e8::/48",
        "2001:b28:f23c::/48",
        "2001:b28:f23d::/48",
        "2001:b28:f23f::/48",
        "2a0a:f280::/32",
    )
)
"""Where Telegram's data centres are. Source: https://core.telegram.org/resources/cidr.txt"""


def import_session(
    core: Core, *, tenant_id: str, session_string: str, telegram_user_id: int | None, actor: str
) -> TelegramSession:
    """Seal and store a string session, and have it validated.

    Args:
        telegram_user_id: whose it must be; None: whoever's it is.
        actor: who brings it, for the audit.

    Raises:
        InvalidInput: it is not a string session, or not one of a data centre of Telegram's.
        Transient: the configured server's host name cannot be looked up, so it is not known whose data centre it is.
        Conflict: ``session_exists``: its auth key is a session already, or its user has an active one.
    """
    auth_key, data_centre = _read(core.settings, session_string)
    session_id, ticket = new_id("ses"), utc_now() + timedelta(seconds=TICKET_SECONDS)
    sealed = seal_session(
        core.keyring, tenant_id=tenant_id, session_id=session_id, session_string=session_string.strip()
    )
    with core.transaction() as db:
        if telegram_user_id is not None:
            _refuse_second(db, tenant_id=tenant_id, telegram_user_id=telegram_user_id)
        identity = identity_for(core.settings, db.get_one(Tenant, tenant_id).telegram)
        row: TelegramSession | None = db.scalar(
            insert(TelegramSession)
            .values(
                id=session_id,
                tenant_id=tenant_id,
                telegram_user_id=telegram_user_id,
                dc_id=data_centre.dc_id,
                status="quarantined",
                reason=IMPORTED,
                key_id=sealed.key_id,
                session_sealed=sealed.ciphertext,
                auth_key_hash=fingerprint(auth_key),
                device=identity.kept(),
                proxy_sealed=core.keyring.seal_under_key(
                    sealed.key_id, session_proxy_place(tenant_id, session_id), identity.proxy.encode()
                )
                if identity.proxy is not None
                else None,
                last_used_at=utc_now(),
                next_validation_at=ticket,
            )
            .on_conflict_do_nothing(index_elements=["auth_key_hash"])
            .returning(TelegramSession)
        )
        if row is None:
            raise _exists("This auth key is a session already.")
        record_event(db, tenant_id=tenant_id, actor=actor, action="session.imported", subject=session_id)
    core.dispatch(VALIDATE_BATCH_TASK, ticket.isoformat(), session_id)
    return row


def _read(settings: Settings, session_string: str) -> tuple[bytes, DataCentre]:
    try:
        auth_key, data_centre = read_string_session(session_string.strip())
    except ValueError as exc:
        raise _invalid("must be a Telethon string session") from exc
    # The string names the host that workers will connect to: not any that a caller likes.
    if not _is_telegram(settings, data_centre):
        raise _invalid("must be a session of one of Telegram's data centres")
    return auth_key, data_centre


def _is_telegram(settings: Settings, data_centre: DataCentre) -> bool:
    """Whether it is an address of Telegram's, or one of the configured server, all of whose data centres are at its hosts."""
    address = plain_address(data_centre.host)
    if any(address in network for network in TELEGRAM_NETWORKS):
        return True
    return settings.data_centre is not None and address in addresses_of(settings.data_centre.host)


def _refuse_second(db: DatabaseSession, *, tenant_id: str, telegram_user_id: int) -> None:
    lock_account(db, tenant_id=tenant_id, telegram_user_id=telegram_user_id)
    active = find_active(db, tenant_id=tenant_id, telegram_user_id=telegram_user_id)
    if active is not None:
        raise _exists(f"This user has an active session, {active}. Revoke it first.")


def _exists(detail: str) -> Conflict:
    return Conflict(detail, code="session_exists")


def _invalid(message: str) -> InvalidInput:
    return InvalidInput("Check session_string.", errors=(("session_string", message),))
