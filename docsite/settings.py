"""The page of the settings: what each takes and is by default from `app.settings`, what it does from here.

A test finds a setting that has no sentence, and a sentence that has no setting.
"""

from __future__ import annotations

from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from app.settings import SECRET_SETTINGS, Settings
from docsite.markdown import code, page, table

_ABOUT = """Environment variables; a file `.env` is read, too, and what the environment says wins over it. What is
empty is unset. A missing or senseless setting ends the process at start with one line that names it. `make up` sets
what it needs by itself; `.env.example` is a beginning."""

_FILES = """## Secrets from files

Each of {names} may come from a file instead: `DATABASE_URL_FILE=/run/secrets/database_url`, and so on. A setting that
is given both ways ends the process at start."""


class Group(NamedTuple):
    """Settings that are told together."""

    title: str
    settings: dict[str, str]


GROUPS = (
    Group(
        "Stores",
        {
            "database_url": "PostgreSQL, `postgresql://user:password@host:5432/database`",
            "database_owner_url": "for `migrate` alone: the role that owns the tables; `DATABASE_URL`'s then owns nothing and "
            "cannot change the audit",
            "redis_url": "Redis, by `redis://`, `rediss://` or `sentinel://…?master=name`: run it with an append-only file and "
            "`noeviction`",
            "celery_broker_url": "where Celery's messages travel: as `REDIS_URL`, or RabbitMQ by `amqp://` or `amqps://`; "
            "without it, `REDIS_URL`",
        },
    ),
    Group(
        "Telegram",
        {
            "telegram_api_id": "your own application's, from my.telegram.org",
            "telegram_api_hash": "your own application's",
            "telegram_dc_address": "a data centre to start at, `2:127.0.0.1:4430`; without it, Telegram's own",
            "telegram_public_key_file": "PEM with one or more RSA keys, which are trusted instead of Telegram's own",
            "telegram_device_model": "what users see in their list of devices",
            "telegram_system_version": "what users see beside it",
            "telegram_app_version": "what users see beside it",
            "telegram_proxy": "a proxy for connections to Telegram",
            "telegram_bot_token": "the bot of the [Mini App](../miniapp.md); without it there is none",
            "telegram_bot_id": "instead of the token: then Telegram's own signature is checked, and no token is kept here",
            "miniapp_tenant_id": "the tenant that the Mini App belongs to; without it, the only one",
        },
    ),
    Group(
        "Logins and the web role",
        {
            "public_url": "where browsers reach the web role",
            "qr_ttl_seconds": "how long a login lives",
            "qr_poll_seconds": "how often a waiting login asks, should an update get lost",
            "warm_connections": "how many connections each login worker holds ready, so that a QR code comes sooner",
            "trusted_proxies": "how many proxies in front of the web role may name the caller's address",
            "webhook_allow_private": "whether webhooks may go to http:// and to private addresses; `make up` sets it true",
            "admin_may_open_sessions": "whether a key of scope `admin` may make keys that open another tenant's sessions",
        },
    ),
    Group(
        "Keys",
        {
            "key_provider": "who wraps data encryption keys",
            "local_key_file": "needed with `local`: base64 of 32 random bytes",
            "kms_key_id": "needed with `aws-kms`",
            "kms_endpoint_url": "an emulator's; without it, AWS",
            "key_rotation_days": "the age at which a data encryption key is replaced",
        },
    ),
    Group(
        "Backups",
        {
            "s3_bucket": "where backups go; without it there are none",
            "s3_prefix": "what the objects' names begin with",
            "s3_endpoint_url": "another provider's or an emulator's; without it, AWS",
            "s3_server_side_encryption": "the bucket encrypts objects once more",
            "s3_sse_kms_key_id": "the KMS key for that, with `aws:kms`",
            "s3_object_lock_days": "how long the bucket refuses to delete an object; it needs object lock",
            "s3_object_lock_mode": "how strictly it does",
            "restore_wrapping_keys": "KMS keys (ARNs, comma-separated) that a restore may ask, beside the present one "
            "and those in the database",
            "backup_interval_seconds": "how often sessions that changed are backed up",
            "backup_retention_days": "how long superseded versions are kept",
        },
    ),
    Group(
        "What is kept",
        {
            "validation_interval_seconds": "how often each session is asked whether it lives",
            "session_max_idle_days": "when an unused session is logged out; 0: never",
            "login_retention_days": "how long ended logins are kept",
            "audit_retention_days": "how long audit events are kept",
            "webhook_retention_days": "how long events and their deliveries are kept",
        },
    ),
    Group(
        "Limits",
        {
            "login_rate_per_minute": "logins started, by key and tenant; sessions imported, by tenant",
            "strict_rate_per_minute": "passwords and codes typed, by login",
            "read_rate_per_minute": "calls that only look, by key and tenant",
            "open_rate_per_minute": "opened sessions and other changes, by key and tenant",
            "max_waiting_logins": "how many logins a tenant may have under way",
            "codes_per_phone_per_hour": "login codes to one number, over all tenants",
            "max_streams_per_login": "open streams and long polls of one web process, by login",
            "max_streams_per_tenant": "the same by tenant",
            "max_streams_per_address": "the same by the caller's address",
        },
    ),
    Group(
        "Logs, metrics and traces",
        {
            "log_level": "how much is logged",
            "log_format": "`console` is for people",
            "metrics_host": "where a process tells its metrics",
            "metrics_port": "the same; with it, the web role tells them only there, and `/readyz` elsewhere says no more "
            "than its status",
            "metrics_max_tenants": "how many tenants have a label of their own in the metrics; further ones share `other`",
            "otel_exporter_otlp_endpoint": "where a collector takes OTLP over HTTP, `http://collector:4318`; without it there "
            "are no [traces](../operations/logs-and-traces.md)",
            "otel_exporter_otlp_headers": "what the collector wants to be shown, `authorization=Bearer%20…`",
            "otel_service_name": "instead of `latchkey-web` and `latchkey-worker`",
        },
    ),
)

_WORDS = {Gt: "above", Ge: "at least", Lt: "below", Le: "at most"}

_SERVERS = """## What the servers around Latchkey read

| setting | default | is |
| --- | --- | --- |
| `HOST`, `PORT` | `127.0.0.1`, `8000` | where the web role listens |
| `WEB_CONCURRENCY` | `1` | its processes |
| `FLOWER_BASIC_AUTH` | | Flower's `name:password`; it does not start without |
| `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_DEFAULT_REGION` | | S3's and KMS's, as boto3 reads them |"""


def settings_page() -> str:
    """Every setting, group by group."""
    parts = []
    for group in GROUPS:
        rows = [_describe(name, text) for name, text in group.settings.items()]
        parts += [f"## {group.title}", table(["setting", "default", "takes", "is"], rows)]
    names = ", ".join(map(code, SECRET_SETTINGS))
    return page("Settings", _ABOUT, *parts, _SERVERS, _FILES.format(names=names))


def _describe(name: str, text: str) -> list[str]:
    field = Settings.model_fields[name]
    return [code(name.upper()), _default(field), _takes(field), text]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**needed**"
    if field.default in (None, ""):
        return ""
    return code(
        str(field.default).lower()
        if isinstance(field.default, bool)
        else f"{field.default:g}"
        if isinstance(field.default, float)
        else field.default
    )


def _takes(field: FieldInfo) -> str:
    kind = _without_none(field.annotation)
    if get_origin(kind) is Literal:
        return ", ".join(map(code, get_args(kind)))
    return _range(field.metadata) or {bool: "true or false", int: "a number", float: "a number"}.get(kind, "")


def _without_none(kind: Any) -> Any:
    options = [option for option in get_args(kind) if option is not NoneType]
    if NoneType in get_args(kind) and len(options) == 1:
        kind = options[0]
    return _without_none(get_args(kind)[0]) if get_origin(kind) is Annotated else kind


def _range(limits: list[Any]) -> str:
    said = {type(each): each for each in limits}
    if Ge in said and Le in said:
        return f"{said[Ge].ge:,g} to {said[Le].le:,.10g}"
    words = [
        f"{word} {getattr(said[kind], kind.__name__.lower()):,.20g}" for kind, word in _WORDS.items() if kind in said
    ]
    return ", ".join(words)
