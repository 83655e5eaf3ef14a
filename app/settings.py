"""Settings: the only reader of the environment.

Built once per process by ``load_settings`` and passed on; no module imports an instance. A missing or senseless
setting raises ``SettingsError`` with one line that names it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from app.errors import SettingsError
from app.setting_values import (
    check_broker_url,
    check_http_url,
    check_redis_url,
    read_local_keys,
    read_public_keys,
    split_proxy,
)


class DataCentre(NamedTuple):
    """Where a data centre listens."""

    dc_id: int
    host: str
    port: int


def parse_dc_address(text: str) -> DataCentre:
    """Read ``dc_id:host:port``, as in ``2:127.0.0.1:4430``; an IPv6 host may stand in brackets.

    Raises:
        ValueError: it is not of that form.
    """
    dc_id, _, rest = text.partition(":")
    host, _, port = rest.rpartition(":")
    numbers = dc_id.isascii() and dc_id.isdigit() and port.isascii() and port.isdigit()
    if not (numbers and host and int(dc_id) > 0 and 0 < int(port) < 65536):
        raise ValueError("must look like 2:127.0.0.1:4430 (data centre, host, port)")
    return DataCentre(dc_id=int(dc_id), host=host.strip("[]"), port=int(port))


T = TypeVar("T")


def _checked_by(read: Callable[[T], object]) -> Callable[[T], T]:
    """Keep a setting as it stands if it can be read."""

    def check(value: T) -> T:
        read(value)
        return value

    return check


Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Days = Annotated[int, Field(ge=1, le=36_500)]
Name = Annotated[str, Field(min_length=1)]
BrokerUrl = Annotated[str, AfterValidator(check_broker_url)]
RedisUrl = Annotated[str, AfterValidator(check_redis_url)]
HttpUrl = Annotated[str, AfterValidator(check_http_url)]
DataCentreAddress = Annotated[str, AfterValidator(_checked_by(parse_dc_address))]
ProxyUrl = Annotated[str, AfterValidator(_checked_by(split_proxy))]
PublicKeyFile = Annotated[Path, AfterValidator(_checked_by(read_public_keys))]
LocalKeyFile = Annotated[Path, AfterValidator(_checked_by(read_local_keys))]
PublicUrl = Annotated[str, AfterValidator(partial(check_http_url, bare=True))]


class _Environment(BaseSettings):
    """How settings are read: from the environment and ``.env``; what is empty is unset."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # the input has passwords in it
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, values: dict[str, object]) -> dict[str, object]:
        # Compose and shells write NAME= for what is not set.
        return {name: value for name, value in values.items() if not (isinstance(value, str) and not value.strip())}


class QueueSettings(_Environment):
    """What a process needs that sends or shows tasks and does none of them: beat, Flower. No key, no database."""

    # URLs with passwords in them: not in a repr.
    redis_url: RedisUrl = Field(repr=False)
    celery_broker_url: BrokerUrl | None = Field(default=None, repr=False)

    backup_interval_seconds: Count = 900

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    metrics_host: str = "127.0.0.1"

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_capitals(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @property
    def broker_url(self) -> str:
        """Where Celery's messages travel."""
        return self.celery_broker_url or self.redis_url


class DatabaseSettings(_Environment):
    """What migrations need. No key, no queue."""

    database_url: str = Field(repr=False)
    # Who owns the tables: ``migrate`` alone connects as that. Without it DATABASE_URL's role owns them.
    database_owner_url: str | None = Field(default=None, repr=False)
    audit_retention_days: Days = 400

    @field_validator("database_url", "database_owner_url")
    @classmethod
    def _postgresql_only(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not value.startswith(("postgresql://", "postgresql+psycopg2://")):
            raise ValueError("must start with postgresql:// (Latchkey needs PostgreSQL)")
        value = value.replace("postgresql://", "postgresql+psycopg2://", 1)
        try:
            make_url(value)
        except (ArgumentError, ValueError):
            raise ValueError("must look like postgresql://user:password@host:5432/database") from None
        return value


class Settings(QueueSettings, DatabaseSettings):
    """Every setting, with its default; ``docsite.settings`` says what each one does."""

    telegram_api_id: int = Field(gt=0, lt=2**31)
    telegram_api_hash: SecretStr = Field(min_length=1)
    telegram_dc_address: DataCentreAddress | None = None
    telegram_public_key_file: PublicKeyFile | None = None
    telegram_device_model: Name = "Latchkey"
    telegram_system_version: Name = "1.0"
    telegram_app_version: Name = "1.0"
    telegram_proxy: ProxyUrl | None = Field(default=None, repr=False)
    telegram_bot_token: SecretStr | None = None
    telegram_bot_id: int | None = Field(default=None, gt=0, lt=2**63)
    miniapp_tenant_id: Name | None = None

    qr_ttl_seconds: int = Field(default=600, ge=20, le=3600)
    qr_poll_seconds: float = Field(default=10.0, ge=1.0, le=60.0)
    warm_connections: int = Field(default=0, ge=0, le=200)
    public_url: PublicUrl = "http://127.0.0.1:8000"
    trusted_proxies: int = Field(default=0, ge=0, le=9)

    key_provider: Literal["local", "aws-kms"] = "local"
    local_key_file: LocalKeyFile | None = None
    kms_key_id: str | None = None
    kms_endpoint_url: HttpUrl | None = None
    key_rotation_days: float = Field(default=90.0, gt=0, le=36_500)

    s3_bucket: str | None = None
    s3_prefix: str = "latchkey/"
    s3_endpoint_url: HttpUrl | None = None
    s3_server_side_encryption: Literal["AES256", "aws:kms"] | None = None
    s3_sse_kms_key_id: str | None = None
    s3_object_lock_days: int = Field(default=0, ge=0, le=36_500)
    s3_object_lock_mode: Literal["GOVERNANCE", "COMPLIANCE"] = "GOVERNANCE"
    restore_wrapping_keys: str = ""
    backup_retention_days: Days = 30

    validation_interval_seconds: Count = 900
    session_max_idle_days: int = Field(default=0, ge=0, le=36_500)
    login_retention_days: Days = 30
    webhook_retention_days: Days = 30
    webhook_allow_private: bool = False
    login_rate_per_minute: Count = 30
    strict_rate_per_minute: Count = 5
    read_rate_per_minute: Count = 600
    open_rate_per_minute: Count = 120
    max_waiting_logins: Count = 300
    codes_per_phone_per_hour: Count = 5
    max_streams_per_login: Count = 20
    max_streams_per_tenant: Count = 5000
    max_streams_per_address: Count = 500
    admin_may_open_sessions: bool = True

    metrics_max_tenants: int = Field(default=200, ge=1, le=10_000)

    otel_exporter_otlp_endpoint: HttpUrl | None = None
    otel_exporter_otlp_headers: SecretStr | None = None
    otel_service_name: Name | None = None

    @model_validator(mode="after")
    def _provider_has_its_key(self) -> Settings:
        if self.key_provider == "local" and self.local_key_file is None:
            raise ValueError("LOCAL_KEY_FILE is needed with KEY_PROVIDER=local: base64 of 32 random bytes")
        if self.key_provider == "aws-kms" and self.kms_key_id is None:
            raise ValueError("KMS_KEY_ID is needed with KEY_PROVIDER=aws-kms")
        return self

    @property
    def trusted_wrapping_keys(self) -> tuple[str, ...]:
        """Wrapping keys that backups may name, beside the present one: RESTORE_WRAPPING_KEYS, comma-separated."""
        return tuple(each.strip() for each in self.restore_wrapping_keys.split(",") if each.strip())

    @property
    def data_centre(self) -> DataCentre | None:
        """The data centre to start at, or None for Telegram's own default."""
        return parse_dc_address(self.telegram_dc_address) if self.telegram_dc_address else None


SomeSettings = TypeVar("SomeSettings", QueueSettings, DatabaseSettings, Settings)

SECRET_SETTINGS = (
    "DATABASE_URL",
    "DATABASE_OWNER_URL",
    "REDIS_URL",
    "CELERY_BROKER_URL",
    "TELEGRAM_API_HASH",
    "TELEGRAM_PROXY",
    "TELEGRAM_BOT_TOKEN",
    "OTEL_EXPORTER_OTLP_HEADERS",
)
"""Each may come from a file instead: ``DATABASE_URL_FILE=/run/secrets/database_url``."""


def load_settings() -> Settings:
    """Read the environment and ``.env``, and the files that hold secrets.

    Raises:
        SettingsError: a setting is missing or senseless; the message is one line that names each.
    """
    return load_some_settings(Settings)


def load_some_settings(kind: type[SomeSettings]) -> SomeSettings:
    """As ``load_settings``, for a process that needs and is given no more than these."""
    try:
        return kind(**_read_secrets(os.environ))
    except ValidationError as exc:
        raise SettingsError("; ".join(_one_line(error) for error in exc.errors())) from None


def _read_secrets(environment: Mapping[str, str]) -> dict[str, Any]:
    """The secrets that files hold, by the names of the settings.

    Raises:
        SettingsError: a file cannot be read or is empty, or the setting is given both ways.
    """
    found = {}
    for name in SECRET_SETTINGS:
        path = environment.get(f"{name}_FILE", "").strip()
        if not path:
            continue
        if environment.get(name, "").strip():
            raise SettingsError(f"{name} and {name}_FILE are both set: leave one out")
        try:
            secret = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else "it is no text"
            raise SettingsError(f"{name}_FILE: {path} cannot be read: {why}") from None
        if not secret:
            raise SettingsError(f"{name}_FILE: {path} is empty")
        found[name.lower()] = secret
    return found


def _one_line(error: object) -> str:
    assert isinstance(error, dict)
    name = "_".join(str(part) for part in error["loc"]).upper()
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"{name} is not set"
    return f"{name}: {message}" if name else message
