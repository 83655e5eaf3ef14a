"""Purging a tenant: all that is kept of it goes, with a report.

1. The tenant is disabled: its keys stop, its logins end, its leases are shortened; every session is to be logged out.
2. Workers log them out at Telegram, as with any revocation. What still cannot be logged out after ``PATIENCE`` (Telegram away,
   a key is gone) is given up, and the report says how many: their people end them from the phone.
3. Its key is destroyed (see ``app.backups.tenant_keys``) and its backups are deleted from the bucket, every version of each.
4. Its rows are deleted, in small transactions, the tenant's own last. The audit stays, for its own retention.

The wish is a row, so that a purge goes on after whatever interrupts it. Each step may be repeated.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel
from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as DatabaseSession

from app.backups.alone import alone
from app.backups.names import tenant_keys_prefix, tenant_prefix
from app.clock import Timestamp, utc_now
from app.core import Core
from app.database import Transaction
from app.errors import NotFound
from app.ids import new_id
from app.logins.withdrawing import DisabledTenant, withdraw_tenant_in
from app.logs import get_logger
from app.models import (
    LIVE_LOGIN_STATUSES,
    ApiKey,
    AuditEvent,
    BackupObject,
    LeavingAuthKey,
    Login,
    TelegramSession,
    Tenant,
    TenantPurge,
    WebhookEndpoint,
    WebhookMessage,
)
from app.sessions.revocation import LOG_OUT_TASK, MESSAGES_AT_ONCE, REVOCABLE, mark_revoking
from app.vault.audit import record_event

if TYPE_CHECKING:
    from app.backups.bucket import Bucket  # the web asks for purges too, and needs no boto3 for that

PATIENCE = timedelta(days=1)
"""How long a log-out is tried before the purge goes on without it."""

BATCH_ROWS = 1000
_COUNTED: dict[str, Any] = {
    "sessions": TelegramSession,
    "logins": Login,
    "api_keys": ApiKey,
    "webhooks": WebhookEndpoint,
    "webhook_events": WebhookMessage,
}

_log = get_logger(__name__)


class PurgeView(BaseModel):
    """A purge as it stands.

    ``sessions`` to ``webhook_events`` count rows that there were; ``left`` counts log-outs still to do; ``given_up`` those that
    could not be done. ``backups_deleted`` counts objects in the bucket, with old versions; ``backups_kept`` those that the
    bucket would not delete (a lock, say). ``audit_events_kept`` go when their retention ends.
    """

    tenant_id: str
    state: Literal["purging", "purged"]
    requested_at: Timestamp
    finished_at: Timestamp | None
    sessions: int = 0
    logins: int = 0
    api_keys: int = 0
    webhooks: int = 0
    webhook_events: int = 0
    left: int = 0
    given_up: int = 0
    backups_deleted: int = 0
    backups_kept: int = 0
    audit_events_kept: int = 0


class StartedPurge(NamedTuple):
    """A purge, and the tenant's end with the logins that ended: whoever drives or shows one is to be told. None: long over."""

    purge: PurgeView
    disabled: DisabledTenant | None


def request_purge(core: Core, *, tenant_id: str, actor: str) -> StartedPurge:
    """Have a tenant purged. May be repeated; a purge that is over is answered with its report.

    Args:
        actor: who does it, for the audit.

    Raises:
        NotFound: there is no such tenant, and never was one that was purged.
    """
    with core.transaction() as db:
        if db.get(Tenant, tenant_id) is None:
            done = _latest(db, tenant_id)
            if done is None:
                raise NotFound(f"There is no tenant {tenant_id}.")
            return StartedPurge(_view(done), None)
        disabled = withdraw_tenant_in(db, actor=actor, tenant_id=tenant_id)
        revoking = _mark_some(db, tenant_id=tenant_id, actor=actor, limit=MESSAGES_AT_ONCE)
        begun = db.scalar(
            insert(TenantPurge)
            .values(id=new_id("pur"), tenant_id=tenant_id, actor=actor, report={})
            .on_conflict_do_nothing(index_elements=["tenant_id"], index_where=TenantPurge.finished_at.is_(None))
            .returning(TenantPurge.id)
        )
        if begun is not None:
            record_event(db, tenant_id=tenant_id, actor=actor, action="tenant.purge_requested", subject=tenant_id)
        row = db.scalars(
            select(TenantPurge).where(TenantPurge.tenant_id == tenant_id, TenantPurge.finished_at.is_(None))
        ).one()
        if begun is not None:
            row.report = {
                name: db.scalar(select(func.count()).select_from(model).where(model.tenant_id == tenant_id)) or 0
                for name, model in _COUNTED.items()
            } | {"left": _count_left(db, tenant_id)}
        view = _view(row)
    for session in revoking:  # the next runs mark the others, and the sweep sends those
        core.dispatch(LOG_OUT_TASK, session.id)
    return StartedPurge(view, disabled)


def read_purge(transaction: Transaction, *, tenant_id: str) -> PurgeView:
    """The latest purge of a tenant, whether it is there still or not.

    Raises:
        NotFound: nobody has asked for one.
    """
    with transaction() as db:
        latest = _latest(db, tenant_id)
        if latest is None:
            raise NotFound(f"Nobody has had tenant {tenant_id} purged.")
        return _view(latest)


def purge_tenants(
    core: Core, bucket: Bucket | None, *, only: str | None = None, patience: timedelta = PATIENCE
) -> list[PurgeView]:
    """Take every purge that is under way as far as it goes now.

    Args:
        bucket: where its backups are; None: there are none.
        only: that tenant's alone.
        patience: see ``PATIENCE``.

    Returns:
        Each purge as it stands then.

    Raises:
        Unavailable, Transient, Permanent: PostgreSQL or the bucket is away, or refuses us; the next run goes on.
    """
    with core.transaction() as db:
        under_way = select(TenantPurge.id).where(TenantPurge.finished_at.is_(None))
        purges = db.scalars(under_way if only is None else under_way.where(TenantPurge.tenant_id == only)).all()
    return [_advance(core, bucket, purge_id, patience) for purge_id in purges]


def _advance(core: Core, bucket: Bucket | None, purge_id: str, patience: timedelta) -> PurgeView:
    with core.transaction() as db:
        purge = db.get_one(TenantPurge, purge_id)
        tenant_id, actor = purge.tenant_id, purge.actor
    marked = BATCH_ROWS
    while marked == BATCH_ROWS:
        # Among them a login that was just ending well when the tenant was disabled, and became a session since.
        with core.transaction() as db:
            marked = len(_mark_some(db, tenant_id=tenant_id, actor=actor, limit=BATCH_ROWS))
    with core.transaction() as db:
        purge = db.get_one(TenantPurge, purge_id)
        left = _count_left(db, tenant_id)
        late = purge.requested_at < utc_now() - patience
        purge.report = purge.report | {"left": left}
        if left and not late:
            return _view(purge)
    if bucket is not None:
        with alone(core.engine) as mine:
            if not mine:  # a backup is under way, and may yet store something of this tenant's
                return _read(core, purge_id)
            # The key first: without it the backups say nothing any more, whatever becomes of them.
            bucket.delete_versions(tenant_keys_prefix(tenant_id))
            deleted, kept = bucket.delete_versions(tenant_prefix(tenant_id))
            _report(core, purge_id, backups_deleted=deleted, backups_kept=kept)
            _erase_rows(core, tenant_id)
    else:
        _erase_rows(core, tenant_id)
    return _finish(core, purge_id, given_up=left)


def _mark_some(db: DatabaseSession, *, tenant_id: str, actor: str, limit: int) -> list[TelegramSession]:
    some = select(TelegramSession.id).where(_is_to_be_marked(tenant_id)).limit(limit)
    return mark_revoking(db, TelegramSession.id.in_(some), actor=actor, reason="tenant_purged")


def _is_to_be_marked(tenant_id: str) -> ColumnElement[bool]:
    return (TelegramSession.tenant_id == tenant_id) & TelegramSession.status.in_(REVOCABLE)


def _count_left(db: DatabaseSession, tenant_id: str) -> int:
    """Log-outs still to do: sessions, auth keys of logins, and logins whose worker has not let go of them."""
    conditions: dict[Any, ColumnElement[bool]] = {
        TelegramSession: TelegramSession.logout_pending.is_(True) | _is_to_be_marked(tenant_id),
        Login: Login.status.in_(LIVE_LOGIN_STATUSES),
    }
    counts = [
        select(func.count()).select_from(model).where(model.tenant_id == tenant_id, condition)
        for model, condition in conditions.items()
    ]
    counts.append(select(func.count()).select_from(LeavingAuthKey).where(LeavingAuthKey.tenant_id == tenant_id))
    return sum(db.scalar(count) or 0 for count in counts)


def _erase_rows(core: Core, tenant_id: str) -> None:
    for model in (LeavingAuthKey, Login, WebhookMessage, TelegramSession):
        doomed = select(model.id).where(model.tenant_id == tenant_id).limit(BATCH_ROWS)
        while True:
            with core.transaction() as db:
                gone = db.execute(
                    delete(model).where(model.id.in_(doomed)).execution_options(synchronize_session=False)
                )
            if gone.rowcount < BATCH_ROWS:  # type: ignore[attr-defined]  # a DELETE's result has it
                break
    with core.transaction() as db:
        db.execute(delete(BackupObject).where(BackupObject.tenant_id == tenant_id))


def _report(core: Core, purge_id: str, **counts: int) -> None:
    """Add to the report: a step that is repeated counts what it does then."""
    with core.transaction() as db:
        purge = db.get_one(TenantPurge, purge_id, with_for_update=True)
        purge.report = purge.report | {name: purge.report.get(name, 0) + count for name, count in counts.items()}


def _finish(core: Core, purge_id: str, *, given_up: int) -> PurgeView:
    with core.transaction() as db:
        purge = db.get_one(TenantPurge, purge_id, with_for_update=True)
        kept = select(func.count()).select_from(AuditEvent).where(AuditEvent.tenant_id == purge.tenant_id)
        purge.report = purge.report | {"left": 0, "given_up": given_up, "audit_events_kept": db.scalar(kept) or 0}
        purge.finished_at = utc_now()
        # In this very commit: a purge that is not over must not meet another tenant that was given the id.
        db.execute(delete(Tenant).where(Tenant.id == purge.tenant_id))
        record_event(
            db,
            tenant_id=purge.tenant_id,
            actor=purge.actor,
            action="tenant.purged",
            subject=purge.tenant_id,
            details=purge.report,
        )
        _log.info("tenant.purged", tenant_id=purge.tenant_id, **purge.report)
        return _view(purge)


def _latest(db: DatabaseSession, tenant_id: str) -> TenantPurge | None:
    return db.scalar(
        select(TenantPurge).where(TenantPurge.tenant_id == tenant_id).order_by(TenantPurge.requested_at.desc()).limit(1)
    )


def _read(core: Core, purge_id: str) -> PurgeView:
    with core.transaction() as db:
        return _view(db.get_one(TenantPurge, purge_id))


def _view(purge: TenantPurge) -> PurgeView:
    return PurgeView(
        tenant_id=purge.tenant_id,
        state="purging" if purge.finished_at is None else "purged",
        requested_at=purge.requested_at,
        finished_at=purge.finished_at,
        **purge.report,
    )
