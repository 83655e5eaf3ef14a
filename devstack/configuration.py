"""What a stack runs with: its folder, its ports and the settings of its programs.

Knows the names of Latchkey's settings; starts nothing.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devstack.errors import SetupError
from devstack.files import kept_secret, write_private
from devstack.ports import HOST, PortBook
from devstack.postgres import postgres_password, postgres_url
from devstack.redis import redis_url
from devstack.roles import ROOT, SandboxPorts

DATABASE = "latchkey"
TENANT = "demo"
BUCKET = "latchkey-backups"
KMS_ALIAS = "alias/latchkey"
_HOME_DATA_CENTRE = 2
_PORT_SETTINGS = {
    "web": "PORT",
    "flower": "FLOWER_PORT",
    "exporter": "EXPORTER_PORT",
    "sandbox": "SANDBOX_PORT",
    "postgres": "POSTGRES_PORT",
    "redis": "REDIS_PORT",
    "s3": "S3_PORT",
}
# Where the stack's programs find a store when something stands between them and it: a proxy that can cut or stall.
_PROXY_SETTINGS = {"postgres": "POSTGRES_PROXY_PORT", "redis": "REDIS_PROXY_PORT"}
# What the stack's programs use instead of its own Redis, as all of it or as Celery's broker alone: another engine.
_INSTEAD_SETTINGS = {"REDIS_URL": "STACK_REDIS_URL", "CELERY_BROKER_URL": "STACK_BROKER_URL"}
# Settings that the stack has no opinion on: what is given goes for its programs and for whoever reads ``.run/env``.
_PASSED_ON = (
    "BACKUP_INTERVAL_SECONDS",
    "BACKUP_RETENTION_DAYS",
    "ADMIN_MAY_OPEN_SESSIONS",
    "CODES_PER_PHONE_PER_HOUR",
    "KEY_ROTATION_DAYS",
    "KMS_KEY_ID",
    "LOGIN_RATE_PER_MINUTE",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "MAX_STREAMS_PER_ADDRESS",
    "MAX_STREAMS_PER_LOGIN",
    "MAX_STREAMS_PER_TENANT",
    "MAX_WAITING_LOGINS",
    "METRICS_MAX_TENANTS",
    "OPEN_RATE_PER_MINUTE",
    "QR_POLL_SECONDS",
    "WARM_CONNECTIONS",
    "QR_TTL_SECONDS",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "READ_RATE_PER_MINUTE",
    "RESTORE_WRAPPING_KEYS",
    "S3_OBJECT_LOCK_DAYS",
    "S3_OBJECT_LOCK_MODE",
    "S3_PREFIX",
    "S3_SERVER_SIDE_ENCRYPTION",
    "S3_SSE_KMS_KEY_ID",
    "SESSION_MAX_IDLE_DAYS",
    "STRICT_RATE_PER_MINUTE",
    "TELEGRAM_APP_VERSION",
    "TELEGRAM_BOT_ID",
    "TELEGRAM_BOT_TOKEN",
    "TELEGRAM_DEVICE_MODEL",
    "TELEGRAM_PROXY",
    "TELEGRAM_SYSTEM_VERSION",
    "TRUSTED_PROXIES",
    "VALIDATION_INTERVAL_SECONDS",
    "LOGIN_RETENTION_DAYS",
    "AUDIT_RETENTION_DAYS",
    "WEBHOOK_RETENTION_DAYS",
)
# Eight processes that compile the same sources at every start would cost ten seconds of a core.
OWNER_SETTING = "DATABASE_OWNER_URL"
_SERVICE_ROLE = "latchkey_service"  # owns nothing; migrations make it
_UNWANTED = frozenset({"PYTHONDONTWRITEBYTECODE"})
# What programs need of the surrounding environment when nobody's settings may reach them.
_NEUTRAL = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")


@dataclass(frozen=True, kw_only=True)
class Telegram:
    """The data centre that logins start at."""

    dc_id: int
    host: str
    port: int
    public_key_file: str


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Everything that is decided before the first program starts.

    Args:
        sandbox_ports: None when somebody else's Telegram is used.
        worker_metrics: the metrics port of each worker, by the worker's name.
        beat_metrics: beat's.
        settings: Latchkey's settings, as ``.run/env`` tells them.
        environment: the whole environment of the stack's programs.
    """

    folder: Path
    ports: Mapping[str, int]
    sandbox_ports: SandboxPorts | None
    worker_metrics: Mapping[str, int]
    beat_metrics: int
    login_workers: int
    telegram: Telegram
    settings: Mapping[str, str] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)

    def url(self, name: str) -> str:
        """Where a part answers HTTP."""
        return f"http://{HOST}:{self.ports[name]}"

    @property
    def redis_admin_url(self) -> str:
        """Redis, past what may stand in between, for whoever may do everything there."""
        return redis_url(self.ports["redis"])

    @property
    def redis_watcher_url(self) -> str:
        """The broker as Flower and the exporter may use it."""
        if instead := self.environment.get("STACK_BROKER_URL"):
            return instead
        port = _proxy_port(self.environment, _PROXY_SETTINGS["redis"]) or self.ports["redis"]
        return redis_url(port, user="watcher", password=redis_passwords(self.folder)["watcher"])

    def metrics_url(self, worker: str) -> str:
        """Where a worker tells its metrics."""
        return f"http://{HOST}:{self.worker_metrics[worker]}/metrics"


def configure(folder: Path, given: Mapping[str, str]) -> Configuration:
    """Decide ports and settings; what is ``given`` holds, except where the stack's own stores are.

    Raises:
        SetupError: a given setting is senseless, or its port is taken.
    """
    given = {name: value for name, value in given.items() if value.strip() and name not in _UNWANTED}
    remembered = folder / "ports.json"
    book = PortBook(json.loads(remembered.read_text()) if remembered.exists() else {})
    # The fixed ones first, so that none of them is given out as a free one.
    for name, setting in sorted(_PORT_SETTINGS.items(), key=lambda pair: pair[1] not in given):
        book.fixed_port(name, setting=setting, text=given.get(setting, "").strip())
    ports = dict(book.given_out)
    login_workers = _number(given, "LOGIN_WORKERS", default=1, most=16)
    _number(given, "LOGIN_THREADS", default=1000, most=20_000)
    workers = [f"worker-logins-{number}" for number in range(1, login_workers + 1)] + ["worker-background-1"]
    telegram, sandbox_ports = _telegram(folder, given, book=book)
    worker_metrics = {name: book.port(name) for name in workers}
    beat_metrics = book.port("beat")
    write_private(remembered, json.dumps(book.given_out))
    settings = dict(_settings(folder, given, ports=ports, telegram=telegram))
    return Configuration(
        folder=folder,
        ports=ports,
        sandbox_ports=sandbox_ports,
        worker_metrics=worker_metrics,
        beat_metrics=beat_metrics,
        login_workers=login_workers,
        telegram=telegram,
        settings=settings,
        environment={
            **given,
            **settings,
            "PYTHONPATH": str(ROOT),
            "PYTHONSAFEPATH": "1",  # programs run in the stack's folder, which is no place to import from
            "PYTHONUNBUFFERED": "1",
        },
    )


def _number(given: Mapping[str, str], name: str, *, default: int, most: int) -> int:
    text = given.get(name, str(default))
    if not text.isdigit() or not 1 <= int(text) <= most:
        raise SetupError(f"{name}={text}: a number from 1 to {most} is needed.")
    return int(text)


def _proxy_port(given: Mapping[str, str], setting: str) -> int | None:
    text = given.get(setting)
    if text is not None and not text.isdigit():
        raise SetupError(f"{setting}={text} is no port: a number is needed.")
    return int(text) if text else None


def _telegram(folder: Path, given: Mapping[str, str], *, book: PortBook) -> tuple[Telegram, SandboxPorts | None]:
    key_file = given.get("TELEGRAM_PUBLIC_KEY_FILE", "")
    if address := given.get("TELEGRAM_DC_ADDRESS"):
        dc_id, _, rest = address.partition(":")
        host, _, port = rest.rpartition(":")
        if not (dc_id.isdigit() and host and port.isdigit()):
            raise SetupError(f"TELEGRAM_DC_ADDRESS={address}: it must look like 2:127.0.0.1:4430.")
        return Telegram(dc_id=int(dc_id), host=host, port=int(port), public_key_file=key_file), None
    centres = (book.port("dc-1"), book.port("dc-2"), book.port("dc-3"))
    return (
        Telegram(
            dc_id=_HOME_DATA_CENTRE,
            host=HOST,
            port=centres[_HOME_DATA_CENTRE - 1],
            public_key_file=str(folder / "sandbox.pub.pem"),
        ),
        SandboxPorts(control=book.given_out["sandbox"], data_centres=centres),
    )


def _settings(
    folder: Path, given: Mapping[str, str], *, ports: Mapping[str, int], telegram: Telegram
) -> Iterator[tuple[str, str]]:
    """The settings of the local stack: its own stores always, a default for the rest."""
    yield from ((name, given[name]) for name in _PASSED_ON if name in given)
    local_key_file = folder / "local.key"
    kept_secret(local_key_file, make=lambda: base64.b64encode(secrets.token_bytes(32)).decode())
    flower_password = kept_secret(folder / "flower.password", make=lambda: secrets.token_urlsafe(16))
    store_ports = {name: _proxy_port(given, setting) or ports[name] for name, setting in _PROXY_SETTINGS.items()}
    service_password = kept_secret(folder / "service.password", make=lambda: secrets.token_urlsafe(24))
    yield (
        "DATABASE_URL",
        postgres_url(store_ports["postgres"], password=service_password, database=DATABASE, user=_SERVICE_ROLE),
    )
    yield OWNER_SETTING, postgres_url(ports["postgres"], password=postgres_password(folder), database=DATABASE)
    redis = redis_url(store_ports["redis"], user="service", password=redis_passwords(folder)["service"])
    redis = given.get(_INSTEAD_SETTINGS["REDIS_URL"], redis)
    yield "REDIS_URL", redis
    yield "CELERY_BROKER_URL", given.get(_INSTEAD_SETTINGS["CELERY_BROKER_URL"], redis)
    yield "PUBLIC_URL", given.get("PUBLIC_URL", f"http://{HOST}:{ports['web']}")
    yield "TELEGRAM_DC_ADDRESS", f"{telegram.dc_id}:{telegram.host}:{telegram.port}"
    if telegram.public_key_file:
        yield "TELEGRAM_PUBLIC_KEY_FILE", os.path.abspath(telegram.public_key_file)
    yield "TELEGRAM_API_ID", given.get("TELEGRAM_API_ID", "12345")
    yield "TELEGRAM_API_HASH", given.get("TELEGRAM_API_HASH", "0123456789abcdef0123456789abcdef")
    yield "MINIAPP_TENANT_ID", given.get("MINIAPP_TENANT_ID", TENANT)
    yield "WEBHOOK_ALLOW_PRIVATE", given.get("WEBHOOK_ALLOW_PRIVATE", "true")
    yield "KEY_PROVIDER", given.get("KEY_PROVIDER", "local")
    yield "LOCAL_KEY_FILE", os.path.abspath(given.get("LOCAL_KEY_FILE") or local_key_file)
    if "KMS_ENDPOINT_URL" not in given:
        yield "KMS_KEY_ID", KMS_ALIAS
    yield "KMS_ENDPOINT_URL", given.get("KMS_ENDPOINT_URL", f"http://{HOST}:{ports['s3']}")
    yield "S3_BUCKET", BUCKET
    yield "S3_ENDPOINT_URL", f"http://{HOST}:{ports['s3']}"
    yield "AWS_ACCESS_KEY_ID", "latchkey"
    yield "AWS_SECRET_ACCESS_KEY", "latchkey-local"
    yield "AWS_DEFAULT_REGION", "us-east-1"
    yield "FLOWER_BASIC_AUTH", given.get("FLOWER_BASIC_AUTH") or f"latchkey:{flower_password}"


def redis_passwords(folder: Path) -> dict[str, str]:
    """The passwords of Redis' users in this folder, by name; made the first time."""
    return {
        name: kept_secret(folder / f"redis-{name}.password", make=lambda: secrets.token_urlsafe(24))
        for name in ("service", "watcher")
    }


def neutral_environment() -> dict[str, str]:
    """The surrounding environment without anybody's settings, for a stack that must be the same everywhere."""
    return {name: os.environ[name] for name in _NEUTRAL if name in os.environ}
