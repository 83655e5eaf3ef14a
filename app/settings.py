"""Settings: the only reader of the environment.

Built once per process by ``load_settings`` and passed on; no module imports an instance. A missing or senseless
setting raises ``SettingsError`` with one line that names it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.errors import SettingsError


class DataCentre(NamedTuple):
    """Where a data centre listens."""

    dc_id: int
    host: str
    port: int


def _empty_is_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


OptionalText = Annotated[str | None, BeforeValidator(_empty_is_none)]
OptionalPath = Annotated[Path | None, BeforeValidator(_empty_is_none)]
OptionalEncryption = Annotated[Literal["AES256", "aws:kms"] | None, BeforeValidator(_empty_is_none)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_empty_is_none)]


class Settings(BaseSettings):
    """Every setting, with its default; the README's table says what each one does."""

    model_config = SettingsConfigDict(env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True)

    database_url: str
    redis_url: str
    celery_broker_url: OptionalText = None

    telegram_api_id: int = Field(gt=0)
    telegram_api_hash: SecretStr
    telegram_dc_address: OptionalText = None
    telegram_public_key_file: OptionalPath = None
    telegram_device_model: str = "Latchkey"
    telegram_system_version: str = "1.0"
    telegram_app_version: str = "1.0"
    telegram_proxy: OptionalText = None
    telegram_bot_token: OptionalSecret = None

    qr_ttl_seconds: int = Field(default=600, ge=20, le=3600)
    qr_poll_seconds: float = Field(default=10.0, ge=1.0, le=60.0)
    public_url: str = "http://127.0.0.1:8000"
    trusted_proxies: int = Field(default=0, ge=0, le=9)

    key_provider: Literal["local", "aws-kms"] = "local"
    local_key_file: OptionalPath = None
    kms_key_id: OptionalText = None
    kms_endpoint_url: OptionalText = None
    key_rotation_days: float = Field(default=90.0, gt=0)

    s3_bucket: OptionalText = None
    s3_prefix: str = "latchkey/"
    s3_endpoint_url: OptionalText = None
    s3_server_side_encryption: OptionalEncryption = None
    s3_sse_kms_key_id: OptionalText = None
    s3_object_lock_days: int = Field(default=0, ge=0)
    s3_object_lock_mode: Literal["GOVERNANCE", "COMPLIANCE"] = "GOVERNANCE"
    backup_interval_seconds: int = Field(default=900, ge=1)
    backup_retention_days: int = Field(default=30, ge=1)

    validation_interval_seconds: int = Field(default=900, ge=1)
    session_max_idle_days: int = Field(default=0, ge=0)
    login_rate_per_minute: int = Field(default=30, ge=1)
    strict_rate_per_minute: int = Field(default=5, ge=1)
    warm_connections: int = Field(default=0, ge=0)

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    metrics_host: str = "127.0.0.1"

    @field_validator("database_url")
    @classmethod
    def _postgresql_only(cls, value: str) -> str:
        if not value.startswith(("postgresql://", "postgresql+psycopg2://")):
            raise ValueError("must start with postgresql:// (Latchkey needs PostgreSQL)")
        return value.replace("postgresql://", "postgresql+psycopg2://", 1)

    @field_validator("redis_url", "celery_broker_url")
    @classmethod
    def _redis_only(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme not in {"redis", "rediss", "unix"}:
            raise ValueError("must start with redis:// or rediss://")
        return value

    @field_validator("telegram_dc_address")
    @classmethod
    def _dc_address(cls, value: str | None) -> str | None:
        if value is not None:
            parse_dc_address(value)
        return value

    @field_validator("telegram_public_key_file", "local_key_file")
    @classmethod
    def _file_exists(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError(f"there is no file {value}")
        return value

    @model_validator(mode="after")
    def _provider_has_its_key(self) -> Settings:
        if self.key_provider == "local" and self.local_key_file is None:
            raise ValueError("LOCAL_KEY_FILE is needed with KEY_PROVIDER=local: base64 of 32 random bytes")
        if self.key_provider == "aws-kms" and self.kms_key_id is None:
            raise ValueError("KMS_KEY_ID is needed with KEY_PROVIDER=aws-kms")
        return self

    @property
    def broker_url(self) -> str:
        """Where Celery's messages travel."""
        return self.celery_broker_url or self.redis_url

    @property
    def data_centre(self) -> DataCentre | None:
        """The data centre to start at, or None for Telegram's own default."""
        return parse_dc_address(self.telegram_dc_address) if self.telegram_dc_address else None


def parse_dc_address(text: str) -> DataCentre:
    """Read ``dc_id:host:port``, as in ``2:127.0.0.1:4430``; an IPv6 host may stand in brackets.

    Raises:
        ValueError: it is not of that form.
    """
    dc_id, _, rest = text.partition(":")
    host, _, port = rest.rpartition(":")
    if not (dc_id.isdigit() and host and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError("must look like 2:127.0.0.1:4430 (data centre, host, port)")
    return DataCentre(dc_id=int(dc_id), host=host.strip("[]"), port=int(port))


def load_settings() -> Settings:
    """Read the environment and ``.env``.

    Raises:
        SettingsError: a setting is missing or senseless; the message is one line that names each.
    """
    try:
        return Settings()
    except ValidationError as exc:
        raise SettingsError("; ".join(_one_line(error) for error in exc.errors())) from None


def _one_line(error: object) -> str:
    assert isinstance(error, dict)
    name = "_".join(str(part) for part in error["loc"]).upper()
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"{name} is not set"
    return f"{name}: {message}" if name else message
