"""Tenants and their API keys, for whoever runs this installation (scope ``admin``)."""

from __future__ import annotations

from typing import Annotated, Any

from apiflask import APIBlueprint
from flask import Response, request
from pydantic import BaseModel, Field

from app.errors import Forbidden
from app.logins.start import hint_cancelled
from app.logins.withdrawing import withdraw_api_key, withdraw_tenant
from app.purging import PurgeView, read_purge, request_purge
from app.storable import Storable
from app.tenants.changes import OperatorChanges
from app.tenants.keys import SCOPES, ApiKeyView, NewApiKeyView, Scope, change_api_key, create_api_key, list_api_keys
from app.tenants.own_settings import TenantSettingsView, change_tenant, read_tenant_settings
from app.tenants.store import (
    TENANT_ID_PATTERN,
    TenantView,
    create_tenant,
    enable_tenant,
    list_tenants,
)
from web.auth import current_caller, needs
from web.openapi import answers_problems
from web.parsing import Body, Moment, Query
from web.parts import parts

tenants = APIBlueprint("tenants", __name__, url_prefix="/v1/tenants", tag="Tenants")

Name = Annotated[Storable, Field(max_length=200)]
Networks = Annotated[list[Annotated[str, Field(max_length=50)]], Field(max_length=50)]


@tenants.after_request
def _forget_known_keys(response: Response) -> Response:
    """What changed may be what a key or its tenant may do."""
    if request.method not in ("GET", "HEAD"):
        parts().known_keys.forget()
    return response


class NewTenantBody(Body):
    """A tenant to be."""

    id: str | None = Field(default=None, pattern=TENANT_ID_PATTERN, description="Made up if left out.")
    name: Annotated[Name, Field(min_length=1)]


class TenantChangesBody(OperatorChanges):
    """What is to change; what is left out stays."""

    disabled: bool | None = Field(default=None, description="true: as DELETE does; false: its API keys work again.")


class DeleteTenantQuery(Query):
    """How far it goes."""

    purge: bool = Field(default=False, description="Erase all that is kept of it, for good.")


class NewApiKeyBody(Body):
    """An API key to be."""

    scopes: list[Scope] = Field(min_length=1, max_length=len(SCOPES))
    name: Name = ""
    expires_at: Moment | None = Field(default=None, description="When it stops working by itself.")
    networks: Networks = Field(default_factory=list, description="Where it may be used from, as CIDR; none: anywhere.")


class ApiKeyChangesBody(Body):
    """What is to change; what is left out stays."""

    name: Name | None = None
    expires_at: Moment | None = Field(default=None, description="null: never.")
    networks: Networks | None = None


class TenantList(BaseModel):
    """Every tenant."""

    data: list[TenantView]


class ApiKeyList(BaseModel):
    """Every API key of a tenant."""

    data: list[ApiKeyView]


_PURGING: dict[int | str, dict[str, str | dict[str, dict[str, Any]]]] = {
    202: {
        "description": "With `purge=true`: the purge as it stands.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/PurgeView"}}},
    }
}


@tenants.get("")
@needs("admin")
@tenants.output(TenantList)
def list_all_tenants() -> TenantList:
    """List tenants"""
    return TenantList(data=list_tenants(parts().core.transaction))


@tenants.post("")
@answers_problems("tenant_exists")
@needs("admin")
@tenants.input(NewTenantBody, arg_name="body")
@tenants.output(TenantView, status_code=201)
def post_tenant(body: NewTenantBody) -> TenantView:
    """Add a tenant"""
    return create_tenant(parts().core.transaction, actor=current_caller().actor, name=body.name, tenant_id=body.id)


@tenants.get("/<id:tenant_id>")
@needs("admin")
@tenants.output(TenantSettingsView)
def get_one_tenant(tenant_id: str) -> TenantSettingsView:
    """Read a tenant"""
    return read_tenant_settings(parts().core, tenant_id=tenant_id)


@tenants.delete("/<id:tenant_id>")
@needs("admin")
@tenants.input(DeleteTenantQuery, location="query", arg_name="query")
@tenants.doc(responses=_PURGING)
@tenants.output(TenantView)
def delete_tenant(tenant_id: str, query: DeleteTenantQuery) -> TenantView | Response:
    """Disable a tenant, or purge it

    Its API keys stop working at once, its open streams end, its logins are cancelled and its leases shortened. Its sessions and
    its audit stay.

    With `purge=true` all of it goes: its sessions are logged out at Telegram, then its backups (all versions) and its rows are
    erased; the audit stays for its own retention. That takes minutes: read the report at `/v1/tenants/{tenant_id}/purge`.
    """
    if not query.purge:
        return _disable(tenant_id)
    started = request_purge(parts().core, tenant_id=tenant_id, actor=current_caller().actor)
    if started.disabled is not None:
        hint_cancelled(parts().core, started.disabled.cancelled)
    return Response(started.purge.model_dump_json(), status=202, mimetype="application/json")


@tenants.get("/<id:tenant_id>/purge")
@needs("admin")
@tenants.output(PurgeView)
def get_purge(tenant_id: str) -> PurgeView:
    """Read a tenant's purge

    How far it is, or what it came to. Stays when the tenant is gone.
    """
    return read_purge(parts().core.transaction, tenant_id=tenant_id)


@tenants.patch("/<id:tenant_id>")
@needs("admin")
@tenants.input(TenantChangesBody, arg_name="body")
@tenants.output(TenantSettingsView)
def patch_tenant(tenant_id: str, body: TenantChangesBody) -> TenantSettingsView:
    """Change a tenant's settings, disable or enable it

    The settings are those of `PATCH /v1/tenant`, all of them, and how long its sessions may stay unused.
    """
    core, actor = parts().core, current_caller().actor
    change_tenant(core, actor=actor, tenant_id=tenant_id, changes=body)
    if body.disabled is True:
        _disable(tenant_id)
    if body.disabled is False:
        enable_tenant(core.transaction, actor=actor, tenant_id=tenant_id)
    return read_tenant_settings(core, tenant_id=tenant_id)


@tenants.get("/<id:tenant_id>/api-keys")
@needs("admin")
@tenants.output(ApiKeyList)
def list_keys(tenant_id: str) -> ApiKeyList:
    """List a tenant's API keys"""
    return ApiKeyList(data=list_api_keys(parts().core.transaction, tenant_id=tenant_id))


@tenants.post("/<id:tenant_id>/api-keys")
@answers_problems("tenant_disabled")
@needs("admin")
@tenants.input(NewApiKeyBody, arg_name="body")
@tenants.output(NewApiKeyView, status_code=201, description="`key` is shown this once.")
def post_key(tenant_id: str, body: NewApiKeyBody) -> NewApiKeyView:
    """Make an API key

    That a key of another tenant's may open sessions is kept in the audit of both, and can be switched off
    (`ADMIN_MAY_OPEN_SESSIONS=false`).
    """
    caller, core = current_caller(), parts().core
    for_another = "sessions:open" in body.scopes and caller.tenant_id != tenant_id
    if for_another and not core.settings.admin_may_open_sessions:
        raise Forbidden("Keys that open another tenant's sessions are made on the command line only.")
    return create_api_key(
        core.transaction,
        actor=caller.actor,
        tenant_id=tenant_id,
        scopes=body.scopes,
        name=body.name,
        expires_at=body.expires_at,
        networks=body.networks,
        maker_tenant_id=caller.tenant_id,
    )


@tenants.patch("/<id:tenant_id>/api-keys/<id:key_id>")
@needs("admin")
@tenants.input(ApiKeyChangesBody, arg_name="body")
@tenants.output(ApiKeyView)
def patch_key(tenant_id: str, key_id: str, body: ApiKeyChangesBody) -> ApiKeyView:
    """Change an API key's name, expiry or networks"""
    return change_api_key(
        parts().core.transaction,
        actor=current_caller().actor,
        tenant_id=tenant_id,
        key_id=key_id,
        # A null name or null networks change nothing; a null expires_at is never.
        changes={
            name: value
            for name, value in body.model_dump(exclude_unset=True).items()
            if value is not None or name == "expires_at"
        },
    )


@tenants.delete("/<id:tenant_id>/api-keys/<id:key_id>")
@needs("admin")
@tenants.output(ApiKeyView)
def delete_key(tenant_id: str, key_id: str) -> ApiKeyView:
    """Revoke an API key, at once

    Its open streams end, its logins are cancelled and its leases shortened.
    """
    core = parts().core
    withdrawn = withdraw_api_key(core.transaction, actor=current_caller().actor, key_id=key_id, tenant_id=tenant_id)
    hint_cancelled(core, withdrawn.cancelled)
    return withdrawn.api_key


def _disable(tenant_id: str) -> TenantView:
    core = parts().core
    withdrawn = withdraw_tenant(core.transaction, actor=current_caller().actor, tenant_id=tenant_id)
    hint_cancelled(core, withdrawn.cancelled)
    return withdrawn.tenant
