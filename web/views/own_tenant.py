"""The caller's own tenant: what it sets for itself."""

from __future__ import annotations

from apiflask import APIBlueprint

from app.tenants.changes import TenantChanges
from app.tenants.keys import Scope
from app.tenants.own_settings import OwnTenantView, change_own_tenant, read_own_tenant
from web.auth import current_caller, demand, needs_any_key
from web.parts import parts

own_tenant = APIBlueprint("own_tenant", __name__, url_prefix="/v1/tenant", tag="Tenant")

# Who connects an application to Latchkey says where people are led. Who it is to Telegram is a choice of its own. A proxy is an
# address that the installation's workers connect to, inside its network if it says so: that is for whoever runs them.
_SCOPES: dict[str, Scope] = {
    **dict.fromkeys(("name", "brand", "redirect_urls", "origins"), "webhooks"),
    **dict.fromkeys(("api_id", "api_hash", "device_model", "system_version", "app_version"), "identity"),
    "proxy": "admin",
}


@own_tenant.get("")
@needs_any_key()
@own_tenant.output(OwnTenantView)
def get_own_tenant() -> OwnTenantView:
    """Read your own tenant"""
    return read_own_tenant(parts().core, tenant_id=current_caller().tenant_id)


@own_tenant.patch("")
@needs_any_key(
    says="`name`, `brand`, `redirect_urls` and `origins` need the scope `webhooks`; `api_id`, `api_hash` and the device names "
    "`identity`; `proxy` `admin`."
)
@own_tenant.input(TenantChanges, arg_name="body")
@own_tenant.output(OwnTenantView)
def patch_own_tenant(body: TenantChanges) -> OwnTenantView:
    """Change your own tenant

    What Telegram is told (`api_id`, the device names, the proxy) is for logins that begin from now on: sessions keep what they
    were made with.
    """
    for scope in sorted({_SCOPES[name] for name in body.model_fields_set}):
        demand(scope)
    caller = current_caller()
    return change_own_tenant(parts().core, actor=caller.actor, tenant_id=caller.tenant_id, changes=body)
