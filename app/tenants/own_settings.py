"""What a tenant sets for itself: its name, its brand on the hosted page, where that page may lead and be embedded."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import BaseModel, Field

from app.core import Core
from app.database import Transaction
from app.errors import InvalidInput
from app.models import Tenant
from app.settings import Settings
from app.tenants.store import get_tenant
from app.vault.audit import record_event


class BrandView(BaseModel):
    """How the hosted page shows the tenant. What is not set is None."""

    name: str | None = Field(default=None, description="Instead of the tenant's name.")
    accent: str | None = Field(default=None, description="The colour of buttons: #rrggbb.")
    logo: str | None = Field(default=None, description="A picture as a data: URL, so that no third party is asked.")


class LimitsView(BaseModel):
    """What the tenant may do, at most."""

    logins_per_minute: int


class OwnTenantView(BaseModel):
    """The caller's own tenant."""

    id: str
    name: str
    brand: BrandView
    redirect_urls: list[str] = Field(description="Where the hosted page may lead when a login is over.")
    origins: list[str] = Field(description="Which pages may embed the hosted page.")
    limits: LimitsView = Field(description="Set by whoever runs this installation.")


class Changes(NamedTuple):
    """What is to change, already checked; None leaves it as it is."""

    name: str | None = None
    brand: dict[str, Any] | None = None
    redirect_urls: list[str] | None = None
    origins: list[str] | None = None


def read_own_tenant(core: Core, *, tenant_id: str) -> OwnTenantView:
    """Show a tenant to itself.

    Raises:
        NotFound: there is none.
    """
    with core.transaction() as db:
        return _view(core.settings, get_tenant(db, tenant_id=tenant_id))


def change_own_tenant(core: Core, *, actor: str, tenant_id: str, changes: Changes) -> OwnTenantView:
    """Change what a tenant sets for itself; a list or a brand is replaced whole.

    Raises:
        NotFound: there is none.
    """
    new = {name: value for name, value in changes._asdict().items() if value is not None}
    with core.transaction() as db:
        tenant = get_tenant(db, tenant_id=tenant_id)
        for name, value in new.items():
            setattr(tenant, name, value)
        if new:
            details = {"changed": sorted(new)}
            record_event(
                db, tenant_id=tenant_id, actor=actor, action="tenant.changed", subject=tenant_id, details=details
            )
        return _view(core.settings, tenant)


def check_allowed(transaction: Transaction, *, tenant_id: str, redirect_url: str | None, origin: str | None) -> None:
    """Make sure that the hosted page may lead and be embedded where a login's caller says.

    Raises:
        InvalidInput: it is not on the tenant's list.
    """
    if redirect_url is None and origin is None:
        return
    with transaction() as db:
        tenant = get_tenant(db, tenant_id=tenant_id)
    errors = []
    if redirect_url is not None and _without_query(redirect_url) not in map(_without_query, tenant.redirect_urls):
        errors.append(("redirect_url", "is not on your list of redirect_urls: add it with PATCH /v1/tenant"))
    if origin is not None and origin.rstrip("/") not in tenant.origins:
        errors.append(("origin", "is not on your list of origins: add it with PATCH /v1/tenant"))
    if errors:
        raise InvalidInput("Check the fields.", errors=tuple(errors))


def _without_query(url: str) -> str:
    """What of a URL has to be on the list: a query or a fragment may be added to it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path or '/'}"


def _view(settings: Settings, tenant: Tenant) -> OwnTenantView:
    return OwnTenantView(
        id=tenant.id,
        name=tenant.name,
        brand=BrandView.model_validate(tenant.brand),
        redirect_urls=tenant.redirect_urls,
        origins=tenant.origins,
        limits=LimitsView(logins_per_minute=settings.login_rate_per_minute),
    )
