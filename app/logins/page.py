"""What the hosted page knows of a login before it shows anything: who asks, how it is dressed, and what Telegram will show.

None of that is secret: whoever has the login's id may see it. Everything else takes the login's own secret.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import null, select

from app.core import Core
from app.models import Login, LoginLink, Tenant
from app.telegram.identity import identity_for


@dataclass(frozen=True, kw_only=True)
class LoginPage:
    """See the module.

    Args:
        locale: the language that the caller asked for; None: not said.
        application: what the tenant calls itself; None: nobody knows this login.
        brand: ``accent`` and ``logo``, if the tenant has set them.
        device_name: what Telegram will list under Devices.
        origin: the page that may embed this one, as long as it is on the tenant's list.
        disabled: the tenant was disabled; nothing goes on here.
    """

    locale: str | None = None
    application: str | None = None
    brand: dict[str, Any] = field(default_factory=dict)
    device_name: str | None = None
    origin: str | None = None
    disabled: bool = False


def read_page(core: Core, *, login_id: str) -> LoginPage:
    """What the hosted page of a login says of who asks; an empty one when there is no such login.

    Raises:
        Unavailable: the database is away.
    """
    with core.transaction() as db:
        found = db.execute(
            select(Login.locale, Login.origin, Tenant)
            .join(Tenant, Tenant.id == Login.tenant_id)
            .where(Login.id == login_id)
        ).one_or_none()
        if found is None:  # a link of a webhook, whose login begins when the page asks for it
            of_link = select(null(), null(), Tenant).join(LoginLink, LoginLink.tenant_id == Tenant.id)
            found = db.execute(of_link.where(LoginLink.id == login_id)).one_or_none()
    if found is None:
        return LoginPage()
    locale, origin, tenant = found
    origin = (origin or "").rstrip("/")
    return replace(page_of_tenant(core, tenant), locale=locale, origin=origin if origin in tenant.origins else None)


def page_of_tenant(core: Core, tenant: Tenant) -> LoginPage:
    """What the page says of a tenant, whatever the login."""
    return LoginPage(
        application=tenant.brand.get("name") or tenant.name,
        brand=tenant.brand,
        device_name=identity_for(core.settings, tenant.telegram).device_model,
        disabled=tenant.disabled_at is not None,
    )
