"""A tenant's own settings: its name, its brand, where the hosted page may lead and be embedded, who it is to Telegram."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import Timestamp
from app.core import Core
from app.database import Transaction
from app.errors import InvalidInput
from app.identities import OPEN_OVERRIDES, SECRET_OVERRIDES, write_overrides
from app.models import Tenant
from app.settings import Settings
from app.tenants.changes import TenantChanges
from app.tenants.store import get_tenant
from app.vault.audit import record_event
from app.vault.transact import transact
from app.webhooks.endpoints import MAX_ENDPOINTS

_INSTALLATIONS = "null: the installation's own."


class BrandView(BaseModel):
    """How the hosted page shows the tenant. What is not set is None."""

    name: str | None = Field(default=None, description="Instead of the tenant's name.")
    accent: str | None = Field(default=None, description="The colour of buttons: #rrggbb.")
    logo: str | None = Field(default=None, description="A picture as a data: URL, so that no third party is asked.")


class LimitsView(BaseModel):
    """What the tenant may do, at most."""

    logins_per_minute: int
    reads_per_minute: int
    changes_per_minute: int = Field(description="All other calls, each kind for itself; opened sessions as well.")
    answers_per_minute: int = Field(description="Passwords, codes, resends and switches, each of one login.")
    codes_per_phone_per_hour: int = Field(description="Over all tenants.")
    waiting_logins: int
    streams: int = Field(description="Streams and long polls that are open at once, in one process.")
    streams_per_login: int
    webhooks: int


class OwnTenantView(BaseModel):
    """The caller's own tenant."""

    id: str
    name: str
    brand: BrandView
    redirect_urls: list[str] = Field(description="Where the hosted page may lead when a login is over.")
    origins: list[str] = Field(description="Which pages may embed the hosted page.")
    api_id: int | None = Field(description=f"Of new logins; {_INSTALLATIONS}")
    api_hash_set: bool = Field(description="Whether there is one of the tenant's own. It is never shown.")
    device_model: str | None = Field(description=f"Of new sessions; {_INSTALLATIONS}")
    system_version: str | None = Field(description=f"Of new sessions; {_INSTALLATIONS}")
    app_version: str | None = Field(description=f"Of new sessions; {_INSTALLATIONS}")
    proxy_set: bool = Field(description="Whether new logins go through a proxy of the tenant's own. It is never shown.")
    session_max_idle_days: int | None = Field(
        description=f"Unused sessions are logged out after so many days, 0: never; {_INSTALLATIONS}"
    )
    limits: LimitsView = Field(description="Set by whoever runs this installation.")


class TenantSettingsView(OwnTenantView):
    """A tenant, as whoever runs the installation sees it."""

    created_at: Timestamp
    disabled_at: Timestamp | None


def read_own_tenant(core: Core, *, tenant_id: str) -> OwnTenantView:
    """Show a tenant to itself.

    Raises:
        NotFound: there is none.
    """
    return OwnTenantView.model_validate(read_tenant_settings(core, tenant_id=tenant_id), from_attributes=True)


def read_tenant_settings(core: Core, *, tenant_id: str) -> TenantSettingsView:
    """Show a tenant to whoever runs the installation.

    Raises:
        NotFound: there is none.
    """
    with core.transaction() as db:
        return _view(core.settings, get_tenant(db, tenant_id=tenant_id))


def change_own_tenant(core: Core, *, actor: str, tenant_id: str, changes: TenantChanges) -> OwnTenantView:
    """As ``change_tenant``, shown to the tenant itself."""
    changed = change_tenant(core, actor=actor, tenant_id=tenant_id, changes=changes)
    return OwnTenantView.model_validate(changed, from_attributes=True)


def change_tenant(core: Core, *, actor: str, tenant_id: str, changes: TenantChanges) -> TenantSettingsView:
    """Change a tenant's settings. The audit says which, and no value.

    What Telegram is told is for logins that begin from now on: sessions keep theirs.

    Raises:
        NotFound: there is none.
        SealBroken, KeyUnavailable, Transient: nothing can be sealed; nothing was written.
    """
    new = changes.to_write()
    overrides = {name: new.pop(name) for name in (*OPEN_OVERRIDES, *SECRET_OVERRIDES) if name in new}

    def work(db: DatabaseSession) -> Tenant:
        tenant = get_tenant(db, tenant_id=tenant_id, lock=True)
        _write(tenant, new)
        write_overrides(core.keyring, tenant, overrides)
        if new or overrides:
            details = {"changed": sorted(new | overrides)}
            record_event(
                db, tenant_id=tenant_id, actor=actor, action="tenant.changed", subject=tenant_id, details=details
            )
        return tenant

    return _view(core.settings, transact(core.transaction, core.keyring, work))


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


def _write(tenant: Tenant, columns: dict[str, Any]) -> None:
    for name, value in columns.items():
        setattr(tenant, name, value)


def _without_query(url: str) -> str:
    """What of a URL has to be on the list: a query or a fragment may be added to it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path or '/'}"


def _view(settings: Settings, tenant: Tenant) -> TenantSettingsView:
    columns = ("id", "name", "redirect_urls", "origins", "session_max_idle_days", "created_at", "disabled_at")
    return TenantSettingsView(
        **{name: getattr(tenant, name) for name in columns},
        **{name: tenant.telegram.get(name) for name in OPEN_OVERRIDES},
        **{f"{name}_set": _is_set(tenant, name) for name in SECRET_OVERRIDES},
        brand=BrandView.model_validate(tenant.brand),
        limits=_limits(settings),
    )


def _is_set(tenant: Tenant, name: str) -> bool:
    return getattr(tenant, SECRET_OVERRIDES[name]) is not None or tenant.telegram.get(name) is not None


def _limits(settings: Settings) -> LimitsView:
    return LimitsView(
        logins_per_minute=settings.login_rate_per_minute,
        reads_per_minute=settings.read_rate_per_minute,
        changes_per_minute=settings.open_rate_per_minute,
        answers_per_minute=settings.strict_rate_per_minute,
        codes_per_phone_per_hour=settings.codes_per_phone_per_hour,
        waiting_logins=settings.max_waiting_logins,
        streams=settings.max_streams_per_tenant,
        streams_per_login=settings.max_streams_per_login,
        webhooks=MAX_ENDPOINTS,
    )
