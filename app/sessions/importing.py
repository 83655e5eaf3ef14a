"""Importing: a string session that a caller brings becomes a session of theirs, once Telegram has said whose it is.

It is sealed at once and stays ``quarantined`` until the validator has asked. One that turns out to be another account's, or a
second one of an account that has an active session, is refused: erased, and not logged out, for the authorization belongs to
whoever brought it.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

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
from app.telegram.data_centres import AddressUnknown, NumberedDataCentre, is_of, is_telegrams, locate
from app.telegram.identity import identity_for
from app.telegram.session_files import read_session_file
from app.telegram.session_formats import LIBRARIES, ReadSession, SessionFormat, read_session
from app.telegram.string_sessions import make_string_session
from app.vault.audit import record_event
from app.vault.opening import seal_session
from app.vault.places import session_proxy_place


def import_session(
    core: Core,
    *,
    tenant_id: str,
    session_string: str,
    telegram_user_id: int | None,
    actor: str,
    session_format: SessionFormat | None = None,
) -> TelegramSession:
    """Seal and store a string session, and have it validated. It is kept in Telethon's form, whatever it came in.

    Args:
        session_format: whose form it must have; None: any library's, recognised.
        telegram_user_id: whose it must be; None: whoever's it is.
        actor: who brings it, for the audit.

    Raises:
        InvalidInput: it is not a string session of that form, or not one of a data centre of Telegram's.
        Transient: the configured server's host name cannot be looked up, so it is not known whose data centre it is.
        Conflict: ``session_exists``: its auth key is a session already, or its user has an active one.
    """
    read = _recognise(session_string.strip(), session_format)
    return _import(
        core, read, field="session_string", tenant_id=tenant_id, telegram_user_id=telegram_user_id, actor=actor
    )


def import_session_file(
    core: Core, *, tenant_id: str, path: Path, telegram_user_id: int | None, actor: str
) -> TelegramSession:
    """Import what is logged in with a session file of Telethon or Pyrogram. The file stays as it is; do not use it any more.

    Args, Raises: as in ``import_session``.
    """
    try:
        read = read_session_file(path)
    except ValueError as exc:
        raise _invalid(str(exc), field="file") from exc
    return _import(core, read, field="file", tenant_id=tenant_id, telegram_user_id=telegram_user_id, actor=actor)


def _import(
    core: Core, read: ReadSession, *, field: str, tenant_id: str, telegram_user_id: int | None, actor: str
) -> TelegramSession:
    data_centre = _find_data_centre(core.settings, read.data_centre, field=field)
    session_string = make_string_session(auth_key=read.auth_key, data_centre=data_centre)
    session_id, ticket = new_id("ses"), utc_now() + timedelta(seconds=TICKET_SECONDS)
    sealed = seal_session(core.keyring, tenant_id=tenant_id, session_id=session_id, session_string=session_string)
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
                auth_key_hash=fingerprint(read.auth_key),
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


def _recognise(text: str, said: SessionFormat | None) -> ReadSession:
    try:
        read = read_session(text)
    except ValueError as exc:
        raise _invalid(f"must be a string session of {_name(said)}") from exc
    if said not in (None, read.format):
        raise _invalid(f"must be a string session of {_name(said)}, as format says: it is one of {_name(read.format)}")
    return read


def _name(session_format: SessionFormat | None) -> str:
    names = list(LIBRARIES.values())
    return LIBRARIES[session_format] if session_format else f"{', '.join(names[:-1])} or {names[-1]}"


def _find_data_centre(settings: Settings, data_centre: DataCentre | NumberedDataCentre, *, field: str) -> DataCentre:
    if isinstance(data_centre, DataCentre):
        # It names the host that workers will connect to: not any that a caller likes.
        if not _is_known(settings, data_centre.host):
            raise _invalid("must be a session of one of Telegram's data centres", field=field)
        return data_centre
    try:
        return locate(data_centre, server=settings.data_centre)
    except AddressUnknown as exc:
        raise _invalid(
            f"names data centre {data_centre.dc_id} and not its address, which is not known here:"
            " bring it in a form that has the address",
            field=field,
        ) from exc


def _is_known(settings: Settings, host: str) -> bool:
    """Whether it is an address of Telegram's, or one of the configured server, all of whose data centres are at its hosts."""
    return is_telegrams(host) or (settings.data_centre is not None and is_of(settings.data_centre, host))


def _refuse_second(db: DatabaseSession, *, tenant_id: str, telegram_user_id: int) -> None:
    lock_account(db, tenant_id=tenant_id, telegram_user_id=telegram_user_id)
    active = find_active(db, tenant_id=tenant_id, telegram_user_id=telegram_user_id)
    if active is not None:
        raise _exists(f"This user has an active session, {active}. Revoke it first.")


def _exists(detail: str) -> Conflict:
    return Conflict(detail, code="session_exists")


def _invalid(message: str, *, field: str = "session_string") -> InvalidInput:
    return InvalidInput(f"Check {field}.", errors=((field, message),))
