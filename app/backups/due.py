"""Which sessions are due for a backup, what becomes of one in the bucket, and marking those that were backed up.

Due is whose ``backed_up_version`` is not its ``version``: whoever changes something that a restore should bring back raises
``version``; a rotation, which changes none of it, clears ``backed_up_version``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import ColumnClause, DateTime, Integer, Row, Text, column, func, select, update, values
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as DatabaseSession

from app.backups.authentic import Signer
from app.backups.content import PERSONAL, Content, SessionContent, TenantContent, Tombstone, encode
from app.backups.names import ObjectName
from app.backups.tenant_keys import TenantKeys, add_layer
from app.backups.wrappings import describe_key
from app.errors import SealBroken
from app.identities import open_overrides
from app.logs import get_logger
from app.models import BackupObject, EncryptionKey, TelegramSession, Tenant
from app.vault.keyring import KeyRing
from app.vault.sealing import Place

_BESIDE = ("tenant_id", "key_id", "session_sealed", "proxy_sealed", "backed_up_at", "client_metadata")
_WANTED = [getattr(TelegramSession, name) for name in (*(SessionContent.model_fields.keys() - {"metadata"}), *_BESIDE)]

_Row = TypeVar("_Row", Tenant, EncryptionKey)

_log = get_logger(__name__)
_A_MOMENT = timedelta(microseconds=1)  # what names tell apart
_IS_DUE = TelegramSession.backed_up_version.is_distinct_from(TelegramSession.version)  # word for word the index's


class Due(NamedTuple):
    """A session to back up, with its tenant and its key; no key: it was erased.

    ``session`` has the columns of its row that a backup wants. It is no mapped object: to make one takes twice as long as to
    read the row, and nobody writes to it.
    """

    session: Row[Any]
    tenant: Tenant
    key: EncryptionKey | None


def tenant_place(tenant_id: str, session_id: str) -> Place:
    """Where a tenant's overrides are sealed within a session's backup."""
    return Place("backup-tenant", tenant_id, session_id)


def digest_place(tenant_id: str, session_id: str) -> Place:
    """Where the digest of a session's backup is sealed."""
    return Place("backup-digest", tenant_id, session_id)


def person_place(tenant_id: str, session_id: str) -> Place:
    """Where it is sealed who a session is of, within its backup."""
    return Place("backup-person", tenant_id, session_id)


def tombstone_place(tenant_id: str, session_id: str) -> Place:
    """Where a session's tombstone is signed for."""
    return Place("backup-tombstone", tenant_id, session_id)


def count_due(db: DatabaseSession) -> int:
    """Count the sessions that are due."""
    return db.scalar(select(func.count()).select_from(TelegramSession).where(_IS_DUE)) or 0


def read_clock(db: DatabaseSession) -> datetime:
    """The time that backups go by: the database's, so that runs of different machines agree on which came first."""
    return db.execute(select(func.clock_timestamp(type_=DateTime(timezone=True)))).scalar_one()


def after_last(now: datetime, last: datetime | None) -> datetime:
    """The time of a session's next object: now, and in any case after its last one, which it would not supersede otherwise."""
    return now if last is None else max(now, last + _A_MOMENT)


def find_due(db: DatabaseSession, *, after: str, limit: int) -> list[Due]:
    """The next due sessions after an id, in the order of ids. Locks nothing: a backup makes nobody wait."""
    wanted = select(*_WANTED).where(_IS_DUE, TelegramSession.id > after).order_by(TelegramSession.id).limit(limit)
    sessions = db.execute(wanted).all()
    # Not joined: the few tenants and keys would come with each of the sessions.
    tenants = _read(db, Tenant, {session.tenant_id for session in sessions})
    keys = _read(db, EncryptionKey, {session.key_id for session in sessions if session.session_sealed is not None})
    return [
        Due(session, tenants[session.tenant_id], None if session.session_sealed is None else keys[session.key_id])
        for session in sessions
    ]


def make_object(due: Due, signer: Signer, tenant_keys: TenantKeys, now: datetime) -> tuple[bytes, ObjectName]:
    """Write a due session's object and its name: its backup, or its tombstone when it was erased.

    Raises:
        SealBroken, KeyUnavailable, Transient, Permanent: its key, or its tenant's, is not to be had.
    """
    session, keyring = due.session, signer.keyring
    now = after_last(now, session.backed_up_at)
    if due.key is None or session.session_sealed is None:
        return make_tombstone(
            signer, tenant_id=session.tenant_id, session_id=session.id, version=session.version, now=now
        )
    content = Content(
        format="latchkey-session-1",
        backed_up_at=now,
        tenant=_describe_tenant(due.tenant, due.key.id, session.id, keyring),
        session=_describe_session(session),
        key=describe_key(due.key),
        session_sealed=session.session_sealed,
        proxy_sealed=session.proxy_sealed,
        person_sealed=_seal_person(session, due.key.id, keyring),
        tenant_key_id=None,
        digest_sealed=b"",
    )
    content = add_layer(content, tenant_keys.secret(session.tenant_id))
    place = digest_place(session.tenant_id, session.id)
    sealed = keyring.seal_under_key(due.key.id, place, content.digest())
    body, checksum = encode(content.model_copy(update={"digest_sealed": sealed}))
    return body, ObjectName(session.tenant_id, session.id, now, session.version, due.key.id, checksum)


def make_tombstone(
    signer: Signer, *, tenant_id: str, session_id: str, version: int, now: datetime
) -> tuple[bytes, ObjectName]:
    """Write a tombstone and its name. It says nothing of the person.

    Raises:
        SealBroken, KeyUnavailable, Transient: the key that signs is not to be had.
    """
    content = Tombstone(backed_up_at=now, tenant_id=tenant_id, session_id=session_id, version=version)
    content = signer.sign(content, tombstone_place(tenant_id, session_id))
    body, checksum = encode(content)
    return body, ObjectName(tenant_id, session_id, now, version, None, checksum)


def list_objects(db: DatabaseSession, names: Iterable[ObjectName]) -> None:
    """Add objects to the catalogue; those that are in it already stay as they are."""
    rows = [name._asdict() | {"object_key": name.object_key} for name in names]
    for row in rows:
        del row["checksum"]
    if rows:
        db.execute(insert(BackupObject).on_conflict_do_nothing(), rows)


def list_found_objects(db: DatabaseSession, names: Sequence[ObjectName]) -> None:
    """Add objects that a walk through the bucket found, so that they hold their keys back.

    A run that was killed did not list its last ones, and a restored database knows only what it was restored from. Left out
    are sessions without a row (here, to list one is to say that it was deleted) and keys that this database does not have.
    """
    sessions, keys = {name.session_id for name in names}, {name.key_id for name in names} - {None}
    known: set[str | None] = set(db.scalars(select(TelegramSession.id).where(TelegramSession.id.in_(sessions))))
    known |= set(db.scalars(select(EncryptionKey.openable_id).where(EncryptionKey.openable_id.in_(keys))))
    list_objects(
        db, (each for each in names if each.session_id in known and (each.is_tombstone or each.key_id in known))
    )


def mark_backed_up(db: DatabaseSession, stored: Sequence[Due], now: datetime) -> None:
    """Mark the rows that are still as they were read.

    Those that changed meanwhile, or that somebody is writing this moment, stay due.
    """
    columns: tuple[ColumnClause[Any], ...] = (column("id", Text), column("version", Integer), column("key_id", Text))
    read = values(*columns, name="read").data(
        [(due.session.id, due.session.version, due.session.key_id) for due in stored]
    )
    unchanged = (
        select(TelegramSession.id)
        .join(read, TelegramSession.id == read.c.id)
        .where(TelegramSession.version == read.c.version, TelegramSession.key_id.is_not_distinct_from(read.c.key_id))
        .with_for_update(skip_locked=True, key_share=True, of=TelegramSession)
    )
    db.execute(
        update(TelegramSession)
        .where(TelegramSession.id.in_(unchanged))
        .values(
            backed_up_version=TelegramSession.version,
            backed_up_at=func.greatest(now, TelegramSession.backed_up_at + _A_MOMENT),
        )
        .execution_options(synchronize_session=False)
    )


def _read(db: DatabaseSession, model: type[_Row], ids: Collection[str | None]) -> dict[str | None, _Row]:
    return {row.id: row for row in db.scalars(select(model).where(model.id.in_(ids)))}


def _describe_tenant(tenant: Tenant, key_id: str, session_id: str, keyring: KeyRing) -> TenantContent:
    sealed, overrides = None, _open_overrides(tenant, keyring)
    if overrides:
        place = tenant_place(tenant.id, session_id)
        sealed = keyring.seal_under_key(key_id, place, json.dumps(overrides).encode())
    return TenantContent(
        id=tenant.id,
        name=tenant.name,
        session_max_idle_days=tenant.session_max_idle_days,
        created_at=tenant.created_at,
        disabled_at=tenant.disabled_at,
        telegram_sealed=sealed,
        brand=tenant.brand,
        redirect_urls=tenant.redirect_urls,
        origins=tenant.origins,
    )


def _open_overrides(tenant: Tenant, keyring: KeyRing) -> dict[str, Any]:
    try:
        return open_overrides(keyring, tenant)
    except SealBroken as exc:  # the tenant's to mend; its sessions are backed up all the same
        _log.error("backup.tenant_secret_does_not_open", tenant_id=tenant.id, detail=exc.detail)
        return tenant.telegram


def _describe_session(session: Row[Any]) -> SessionContent:
    open_names = [name for name in SessionContent.model_fields if name not in PERSONAL]
    return SessionContent(**{name: getattr(session, name) for name in open_names})


def _seal_person(session: Row[Any], key_id: str, keyring: KeyRing) -> bytes:
    person = {name: getattr(session, name) for name in PERSONAL if name != "metadata"}
    person["metadata"] = session.client_metadata
    return keyring.seal_under_key(key_id, person_place(session.tenant_id, session.id), json.dumps(person).encode())
