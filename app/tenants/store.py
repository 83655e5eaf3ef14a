"""The rows of tenants: make, list, look up, disable. A disabled tenant's keys stop working at once; its rows stay."""

from __future__ import annotations

from pydantic import BaseModel
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import Timestamp
from app.database import Transaction
from app.errors import Conflict, NotFound
from app.ids import new_id
from app.models import Tenant
from app.vault.audit import record_event

TENANT_ID_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"


class TenantView(BaseModel):
    """A tenant as the API and the command line show it."""

    id: str
    name: str
    created_at: Timestamp
    disabled_at: Timestamp | None


def create_tenant(transaction: Transaction, *, actor: str, name: str, tenant_id: str | None = None) -> TenantView:
    """Add a tenant.

    Args:
        actor: who does it, for the audit.
        tenant_id: matches ``TENANT_ID_PATTERN`` (the caller has checked); None makes one up.

    Raises:
        Conflict: ``tenant_exists``.
    """
    with transaction() as db:
        tenant = db.scalar(
            insert(Tenant).values(id=tenant_id or new_id("tnt"), name=name).on_conflict_do_nothing().returning(Tenant)
        )
        if tenant is None:
            raise Conflict(f"There is a tenant {tenant_id} already.", code="tenant_exists")
        record_event(db, tenant_id=tenant.id, actor=actor, action="tenant.created", subject=tenant.id)
        return _view(tenant)


def list_tenants(transaction: Transaction) -> list[TenantView]:
    """List every tenant, disabled ones too, by id."""
    with transaction() as db:
        return [_view(tenant) for tenant in db.scalars(select(Tenant).order_by(Tenant.id))]


def read_tenant(transaction: Transaction, *, tenant_id: str) -> TenantView:
    """Show a tenant.

    Raises:
        NotFound: there is none.
    """
    with transaction() as db:
        return _view(get_tenant(db, tenant_id=tenant_id))


def disable_tenant(transaction: Transaction, *, actor: str, tenant_id: str) -> TenantView:
    """Stop a tenant's API keys from working. May be repeated; the first time counts.

    Raises:
        NotFound: there is no such tenant.
    """
    with transaction() as db:
        return mark_tenant_disabled(db, actor=actor, tenant_id=tenant_id)


def mark_tenant_disabled(db: DatabaseSession, *, actor: str, tenant_id: str) -> TenantView:
    """As ``disable_tenant``, in the caller's transaction."""
    disabled = db.scalar(
        update(Tenant)
        .where(Tenant.id == tenant_id, Tenant.disabled_at.is_(None))
        .values(disabled_at=func.now())
        .returning(Tenant)
    )
    if disabled is None:
        return _view(get_tenant(db, tenant_id=tenant_id))
    record_event(db, tenant_id=tenant_id, actor=actor, action="tenant.disabled", subject=tenant_id)
    return _view(disabled)


def enable_tenant(transaction: Transaction, *, actor: str, tenant_id: str) -> TenantView:
    """Let a disabled tenant's API keys work again. May be repeated; the first time counts.

    Raises:
        NotFound: there is no such tenant.
    """
    with transaction() as db:
        tenant = get_tenant(db, tenant_id=tenant_id)
        if tenant.disabled_at is not None:
            tenant.disabled_at = None
            record_event(db, tenant_id=tenant_id, actor=actor, action="tenant.enabled", subject=tenant_id)
        return _view(tenant)


def get_tenant(db: DatabaseSession, *, tenant_id: str, lock: bool = False) -> Tenant:
    """Read a tenant's row.

    Args:
        lock: for whoever changes it; rows that refer to it go on.

    Raises:
        NotFound: there is none.
    """
    tenant = db.get(Tenant, tenant_id, with_for_update={"key_share": True} if lock else None)
    if tenant is None:
        raise NotFound(f"There is no tenant {tenant_id}.")
    return tenant


def _view(tenant: Tenant) -> TenantView:
    return TenantView.model_validate(tenant, from_attributes=True)
