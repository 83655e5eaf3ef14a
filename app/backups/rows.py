"""Writing restored rows: tenants and keys where there are none, sessions where there is nothing as new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as DatabaseSession

from app.backups.due import list_objects
from app.backups.opening import OpenedBackup
from app.backups.tenant_keys import StoredTenantKey
from app.clock import utc_now
from app.database import Transaction
from app.identities import OPEN_OVERRIDES, SECRET_OVERRIDES, place_of_override
from app.models import Base, EncryptionKey, TelegramSession, Tenant, TenantKey
from app.vault.audit import record_event
from app.vault.sealing import seal_under

_SESSIONS = Base.metadata.tables["sessions"]  # by its columns' names, which are those of a backup
_IN_USE = ("active", "quarantined")


class RestoreOptions(NamedTuple):
    """How rows are written; ``validate_after``: how long from now until a restored session may be validated."""

    actor: str
    dry_run: bool
    validate_after: timedelta


@dataclass
class Written:
    """What became of a batch: ids of restored rows, ids left alone, and backups whose key is destroyed here."""

    restored: list[str] = field(default_factory=list)
    left_alone: list[str] = field(default_factory=list)
    refused: list[OpenedBackup] = field(default_factory=list)


def write_sessions(transaction: Transaction, backups: Sequence[OpenedBackup], options: RestoreOptions) -> Written:
    """Write a batch in one transaction; in a dry run only say what would be written."""
    written = Written()
    if not backups:
        return written
    with transaction() as db:
        _refuse_destroyed(db, backups, written)
        usable = [backup for backup in backups if backup not in written.refused]
        if options.dry_run:
            as_new = _as_new(db, usable)
            written.restored = [backup.name.session_id for backup in usable if backup.name.session_id not in as_new]
        else:
            _write_keys(db, usable)
            _write_tenants(db, usable)  # what is sealed of them is under one of the keys
            written.restored = [backup.name.session_id for backup in usable if _write_session(db, backup, options)]
            restored = set(written.restored)
            list_objects(db, (backup.name for backup in usable if backup.name.session_id in restored))
    restored = set(written.restored)
    written.left_alone = [backup.name.session_id for backup in usable if backup.name.session_id not in restored]
    return written


def _refuse_destroyed(db: DatabaseSession, backups: Sequence[OpenedBackup], written: Written) -> None:
    key_ids = {backup.name.key_id for backup in backups}
    destroyed = set(
        db.scalars(select(EncryptionKey.id).where(EncryptionKey.id.in_(key_ids), EncryptionKey.state == "destroyed"))
    )
    written.refused = [backup for backup in backups if backup.name.key_id in destroyed]


def _as_new(db: DatabaseSession, backups: Sequence[OpenedBackup]) -> set[str]:
    """Ids of the sessions whose row a real run would leave alone."""
    version = {backup.name.session_id: backup.name.version for backup in backups}
    rows = db.execute(
        select(TelegramSession.id, TelegramSession.version, TelegramSession.lease_expires_at).where(
            TelegramSession.id.in_(version)
        )
    )
    now = utc_now()
    return {
        session_id
        for session_id, existing, leased_until in rows
        if existing >= version[session_id] or (leased_until is not None and leased_until > now)
    }


def _write_keys(db: DatabaseSession, backups: Sequence[OpenedBackup]) -> None:
    keys = {backup.key.content.key_id: backup.key.content for backup in backups}
    keys |= {stored.key.content.key_id: stored.key.content for stored in _tenant_keys(backups).values()}
    for key_id in sorted(keys):
        key = keys[key_id]
        row = {
            "id": key.key_id,
            # It opens and does not seal: the next rotation moves everything to a key of this database.
            "state": "retiring",
            "provider": key.provider,
            "wrapping_key_id": key.wrapping_key_id,
            "wrapped_key": key.wrapped_key,
            "created_at": key.created_at,
        }
        db.execute(insert(EncryptionKey).values(row).on_conflict_do_nothing())


def _write_tenants(db: DatabaseSession, backups: Sequence[OpenedBackup]) -> None:
    tenants = {backup.content.tenant.id: backup for backup in backups}
    for tenant_id in sorted(tenants):
        backup = tenants[tenant_id]
        row = backup.content.tenant.model_dump(exclude={"telegram_sealed"}) | _seal_overrides(backup)
        db.execute(insert(Tenant).values(row).on_conflict_do_nothing())
    for tenant_id, stored in sorted(_tenant_keys(backups).items()):
        row = {
            "id": stored.content.id,
            "tenant_id": tenant_id,
            "key_id": stored.key.content.key_id,
            "secret_sealed": stored.content.secret_sealed,
        }
        db.execute(insert(TenantKey).values(row).on_conflict_do_nothing())


def _tenant_keys(backups: Sequence[OpenedBackup]) -> dict[str, StoredTenantKey]:
    return {backup.name.tenant_id: backup.tenant_key for backup in backups if backup.tenant_key is not None}


def _seal_overrides(backup: OpenedBackup) -> dict[str, Any]:
    """A tenant's overrides as its row has them: the secret ones sealed, under the backup's own key."""
    overrides, tenant_id = backup.tenant_overrides, backup.name.tenant_id
    row: dict[str, Any] = {"telegram": {name: overrides[name] for name in OPEN_OVERRIDES if name in overrides}}
    for name, column in SECRET_OVERRIDES.items():
        if overrides.get(name) is not None:
            place = place_of_override(tenant_id, name)
            row[column] = seal_under(backup.key.data_key, place, str(overrides[name]).encode())
            row["key_id"] = backup.key.content.key_id
    return row


def _write_session(db: DatabaseSession, backup: OpenedBackup, options: RestoreOptions) -> bool:
    """Write one session unless there is a row as new, or one that is leased; whether it was written."""
    now = utc_now()
    row = _session_row(backup, now, options)
    statement = insert(_SESSIONS).values(row)
    written = db.scalar(
        statement.on_conflict_do_update(
            index_elements=[_SESSIONS.c.id],
            set_={name: statement.excluded[name] for name in row if name != "id"}
            | {"fencing_token": func.greatest(_SESSIONS.c.fencing_token + 1, statement.excluded.fencing_token)},
            where=(_SESSIONS.c.version < statement.excluded.version)
            & or_(_SESSIONS.c.lease_expires_at.is_(None), _SESSIONS.c.lease_expires_at <= now),
        ).returning(_SESSIONS.c.id)
    )
    if written is None:
        return False
    record_event(
        db,
        tenant_id=backup.name.tenant_id,
        actor=options.actor,
        action="session.restored",
        subject=backup.name.session_id,
        reason=f"from the backup of {backup.name.backed_up_at.isoformat(timespec='seconds')}",
        details={"object": backup.name.object_key},
    )
    return True


def _session_row(backup: OpenedBackup, now: datetime, options: RestoreOptions) -> dict[str, Any]:
    session = backup.content.session
    in_use = session.status in _IN_USE
    free_at = now + options.validate_after
    return session.model_dump() | {
        "tenant_id": backup.name.tenant_id,
        "key_id": backup.name.key_id,
        "session_sealed": backup.content.session_sealed,
        "proxy_sealed": backup.content.proxy_sealed,
        "status": "quarantined" if in_use else session.status,
        # One that was quarantined already keeps its reason: the validator asks more of some than of others.
        "reason": "restored" if session.status == "active" else session.reason,
        "updated_at": now,
        "next_validation_at": free_at if in_use else None,
        "logout_tries": 0,
        "next_logout_at": free_at if session.logout_pending else None,
        "denials": 0,
        "reported_dead_at": None,
        "auth_key_hash": None,  # the validator claims it: only then is it known that no other session has this auth key
        "backed_up_at": backup.name.backed_up_at,
        # What was chosen over a newer object is backed up again: it would expire, and the next restore would pass it over.
        "backed_up_version": None if backup.superseded else backup.name.version,
        "lease_id": None,
        "lease_holder": None,
        "lease_purpose": None,
        "lease_expires_at": None,
        # No backup knows the last token that was given out: tokens count leases, this counts milliseconds, so it is above it.
        "fencing_token": int(now.timestamp() * 1000),
    }
