"""What may be changed of a tenant, and how each value has to look: the same over HTTP and on the command line."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from app.setting_values import split_proxy
from app.storable import Storable

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_LOGO = re.compile(r"data:image/(png|jpeg|webp);base64,")
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_INSTALLATIONS = " null: the installation's."


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
        parts = urlsplit(text)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        raise ValueError("must be an address such as https://app.example/connected") from None
    local = (parts.scheme == "http" and parts.netloc.rpartition(":")[0] in _LOCAL) or parts.netloc in _LOCAL
    if not host or parts.username is not None or not (parts.scheme == "https" or (local and parts.scheme == "http")):
        raise ValueError("must be an address such as https://app.example/connected")
    return text


def _redirect_url(text: str) -> str:
    if urlsplit(_place(text)).fragment:
        raise ValueError("must have no fragment")
    return text


def _origin(text: str) -> str:
    parts = urlsplit(_place(text))
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must be an origin such as https://app.example, without a path")
    return f"{parts.scheme}://{parts.netloc}".lower()


def _api_hash(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise ValueError("must be the api_hash that https://my.telegram.org shows")
    return secret


def _proxy(secret: SecretStr) -> SecretStr:
    split_proxy(secret.get_secret_value())
    return secret


DeviceName = Annotated[Storable, Field(min_length=1, max_length=100)]


class _Changes(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class BrandChanges(_Changes):
    """How the hosted page shows the tenant; what is left out is not set."""

    name: Annotated[Storable, Field(min_length=1, max_length=60)] | None = None
    accent: Annotated[str, AfterValidator(_colour)] | None = Field(default=None, description="#rrggbb")
    logo: Annotated[Storable, Field(max_length=40_000), AfterValidator(_picture)] | None = Field(
        default=None, description="data:image/png;base64,… (or jpeg, webp), 30 KB at most."
    )


class TenantChanges(_Changes):
    """What is to change; what is left out stays. A list or a brand is replaced whole."""

    name: Annotated[Storable, Field(min_length=1, max_length=200)] | None = None
    brand: BrandChanges | None = None
    redirect_urls: list[Annotated[Storable, Field(max_length=2000), AfterValidator(_redirect_url)]] | None = Field(
        default=None, max_length=20
    )
    origins: list[Annotated[Storable, Field(max_length=300), AfterValidator(_origin)]] | None = Field(
        default=None, max_length=20
    )
    api_id: Annotated[int, Field(gt=0, lt=2**31)] | None = Field(
        default=None,
        description="Your own application's at Telegram, with its api_hash. New logins use it; sessions keep the one that they "
        "were made with." + _INSTALLATIONS,
    )
    api_hash: Annotated[SecretStr, Field(min_length=1, max_length=100), AfterValidator(_api_hash)] | None = Field(
        default=None, description="Goes with api_id. Sealed, and never shown again.", validate_default=True
    )
    device_model: DeviceName | None = Field(
        default=None, description="What Telegram lists under Devices, of new sessions." + _INSTALLATIONS
    )
    system_version: DeviceName | None = Field(default=None, description="As device_model." + _INSTALLATIONS)
    app_version: DeviceName | None = Field(default=None, description="As device_model." + _INSTALLATIONS)
    proxy: Annotated[SecretStr, Field(min_length=1, max_length=1000), AfterValidator(_proxy)] | None = Field(
        default=None,
        description="The way to Telegram for new logins: socks5://user:password@host:1080 (or socks4, http). Sealed, and never "
        "shown again." + _INSTALLATIONS,
    )

    @field_validator("api_hash")
    @classmethod
    def _goes_with_api_id(cls, api_hash: SecretStr | None, fields: ValidationInfo) -> SecretStr | None:
        api_id = fields.data.get("api_id")
        if "api_id" in fields.data and (api_id is None) != (api_hash is None):
            raise ValueError("is needed with api_id, and goes with it only")
        return api_hash

    def to_write(self) -> dict[str, Any]:
        """What was said, as the columns and overrides of a tenant take it: secrets are text.

        A null stays only where it means something: it gives the installation's own setting back.
        """
        said = {name: getattr(self, name) for name in self.model_fields_set & OperatorChanges.model_fields.keys()}
        if said.keys() & {"api_id", "api_hash"}:
            said |= {"api_id": self.api_id, "api_hash": self.api_hash}
        if self.brand is not None:
            said["brand"] = self.brand.model_dump(exclude_none=True)
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in said.items()
            if value is not None or name in MAY_BE_TAKEN_BACK
        }


class OperatorChanges(TenantChanges):
    """What whoever runs the installation may change of a tenant besides."""

    session_max_idle_days: Annotated[int, Field(ge=0, le=36_500)] | None = Field(
        default=None, description="Unused sessions are logged out after so many days; 0: never." + _INSTALLATIONS
    )


MAY_BE_TAKEN_BACK = (
    "api_id",
    "api_hash",
    "device_model",
    "system_version",
    "app_version",
    "proxy",
    "session_max_idle_days",
)
"""What null takes back."""
