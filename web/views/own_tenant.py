"""The caller's own tenant: what it sets for itself."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated
from urllib.parse import urlsplit

from apiflask import APIBlueprint
from pydantic import AfterValidator, Field

from app.tenants.own_settings import Changes, OwnTenantView, change_own_tenant, read_own_tenant
from web.auth import current_caller, needs, needs_any_key
from web.parsing import Body, Storable
from web.parts import parts

own_tenant = APIBlueprint("own_tenant", __name__, url_prefix="/v1/tenant", tag="Tenant")

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_LOGO = re.compile(r"data:image/(png|jpeg|webp);base64,")
_LOCAL = ("localhost", "127.0.0.1", "[::1]")


def _colour(text: str) -> str:
    if not _COLOUR.fullmatch(text):
        raise ValueError("must be a colour such as #2481cc")
    return text.lower()


def _picture(text: str) -> str:
    # No SVG: it can carry scripts. No address: whoever opens the page would be seen by a third party.
    match = _LOGO.match(text)
    if match is None:
        raise ValueError("must be a picture as data:image/png;base64,… (or jpeg, webp)")
    try:
        base64.b64decode(text[match.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64 after the comma") from None
    return text


def _place(text: str) -> str:
    """An absolute address of the tenant's, https except on its own machine."""
    try:
        parts_ = urlsplit(text)
        host = parts_.hostname
        _ = parts_.port
    except ValueError:
        raise ValueError("must be an address such as https://app.example/connected") from None
    local = (parts_.scheme == "http" and parts_.netloc.rpartition(":")[0] in _LOCAL) or parts_.netloc in _LOCAL
    if not host or parts_.username is not None or not (parts_.scheme == "https" or (local and parts_.scheme == "http")):
        raise ValueError("must be an address such as https://app.example/connected")
    return text


def _redirect_url(text: str) -> str:
    if urlsplit(_place(text)).fragment:
        raise ValueError("must have no fragment")
    return text


def _origin(text: str) -> str:
    parts_ = urlsplit(_place(text))
    if parts_.path not in ("", "/") or parts_.query or parts_.fragment:
        raise ValueError("must be an origin such as https://app.example, without a path")
    return f"{parts_.scheme}://{parts_.netloc}".lower()


class BrandBody(Body):
    """How the hosted page shows the tenant; what is left out is not set."""

    name: Annotated[Storable, Field(min_length=1, max_length=60)] | None = None
    accent: Annotated[str, AfterValidator(_colour)] | None = Field(default=None, description="#rrggbb")
    logo: Annotated[Storable, Field(max_length=40_000), AfterValidator(_picture)] | None = Field(
        default=None, description="data:image/png;base64,… (or jpeg, webp), 30 KB at most."
    )


class TenantChanges(Body):
    """What is to change; what is left out stays. A list or a brand is replaced whole."""

    name: Annotated[Storable, Field(min_length=1, max_length=200)] | None = None
    brand: BrandBody | None = None
    redirect_urls: list[Annotated[Storable, Field(max_length=2000), AfterValidator(_redirect_url)]] | None = Field(
        default=None, max_length=20
    )
    origins: list[Annotated[Storable, Field(max_length=300), AfterValidator(_origin)]] | None = Field(
        default=None, max_length=20
    )


@own_tenant.get("")
@needs_any_key()
@own_tenant.output(OwnTenantView)
def get_own_tenant() -> OwnTenantView:
    """Read your own tenant"""
    return read_own_tenant(parts().core, tenant_id=current_caller().tenant_id)


@own_tenant.patch("")
@needs("webhooks")
@own_tenant.input(TenantChanges, arg_name="body")
@own_tenant.output(OwnTenantView)
def patch_own_tenant(body: TenantChanges) -> OwnTenantView:
    """Change your own tenant

    The scope is that of whoever connects your application to Latchkey: these settings say where people are led.
    """
    caller = current_caller()
    brand = body.brand.model_dump(exclude_none=True) if body.brand is not None else None
    changes = Changes(name=body.name, brand=brand, redirect_urls=body.redirect_urls, origins=body.origins)
    return change_own_tenant(parts().core, actor=caller.actor, tenant_id=caller.tenant_id, changes=changes)
