"""Tenants and their API keys, for whoever runs this installation (scope ``admin``)."""

from __future__ import annotations

from typing import Annotated

from apiflask import APIBlueprint
from pydantic import BaseModel, Field

from app.tenants.keys import ApiKeyView, NewApiKeyView, Scope, create_api_key, list_api_keys, revoke_api_key
from app.tenants.store import (
    TENANT_ID_PATTERN,
    TenantView,
    create_tenant,
    disable_tenant,
    list_tenants,
    read_tenant,
)
from web.auth import current_caller, needs
from web.openapi import answers_problems
from web.parsing import Body, Storable
from web.parts import parts

tenants = APIBlueprint("tenants", __name__, url_prefix="/v1/tenants", tag="Tenants")

Name = Annotated[Storable, Field(max_length=200)]


class NewTenantBody(Body):
    """A tenant to be."""

    id: str | None = Field(default=None, pattern=TENANT_ID_PATTERN, description="Made up if left out.")
    name: Annotated[Name, Field(min_length=1)]


class NewApiKeyBody(Body):
    """An API key to be."""

    scopes: list[Scope] = Field(min_length=1, max_length=7)
    name: Name = ""


class TenantList(BaseModel):
    """Every tenant."""

    data: list[TenantView]


class ApiKeyList(BaseModel):
    """Every API key of a tenant."""

    data: list[ApiKeyView]


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
@tenants.output(TenantView)
def get_one_tenant(tenant_id: str) -> TenantView:
    """Read a tenant"""
    return read_tenant(parts().core.transaction, tenant_id=tenant_id)


@tenants.delete("/<id:tenant_id>")
@needs("admin")
@tenants.output(TenantView)
def delete_tenant(tenant_id: str) -> TenantView:
    """Disable a tenant

    Its API keys stop working at once; its logins, sessions and audit stay.
    """
    return disable_tenant(parts().core.transaction, actor=current_caller().actor, tenant_id=tenant_id)


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
    """Make an API key"""
    return create_api_key(
        parts().core.transaction,
        actor=current_caller().actor,
        tenant_id=tenant_id,
        scopes=body.scopes,
        name=body.name,
    )


@tenants.delete("/<id:tenant_id>/api-keys/<id:key_id>")
@needs("admin")
@tenants.output(ApiKeyView)
def delete_key(tenant_id: str, key_id: str) -> ApiKeyView:
    """Revoke an API key, at once"""
    return revoke_api_key(parts().core.transaction, actor=current_caller().actor, key_id=key_id, tenant_id=tenant_id)
