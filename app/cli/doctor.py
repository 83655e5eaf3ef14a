"""``doctor``: looks at each dependency and says what to do about it. Changes nothing; every look is bounded in time."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Literal, NamedTuple

import click
import redis
from redis.exceptions import RedisError
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session as DatabaseSession

from app import migrations
from app.cli.database import open_engine
from app.clock import utc_now
from app.errors import AppError, SealBroken
from app.exposure import find_exposures
from app.models import EncryptionKey
from app.settings import DataCentre, Settings, load_settings
from app.vault.providers import make_key_provider
from app.vault.wrapping import WrappedKey

_TIMEOUT_SECONDS = 5
_CLOCK_TOLERANCE_SECONDS = 2.0  # login tokens live 30 s, initData and webhooks minutes
_TELEGRAM = DataCentre(dc_id=2, host="149.154.167.51", port=443)  # Telethon's own first address
_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


class Finding(NamedTuple):
    """What a look found. ``advice`` says what to do about a warning or a failure."""

    name: str
    state: Literal["ok", "warning", "failed"]
    found: str
    advice: str = ""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Check each dependency and say what to do. Exits with 1 if something that is needed fails."""
    settings = load_settings()
    findings = []
    for finding in examine(settings):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
    if any(finding.state == "failed" for finding in findings):
        raise click.exceptions.Exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything the settings name, one after the other."""
    with open_engine(settings) as engine:
        yield from _database(engine)
        yield from _redis("redis", settings.redis_url)
        if settings.broker_url != settings.redis_url:
            yield from _redis("broker", settings.broker_url)
        yield _keys(settings, engine)
        yield _bucket(settings)
        yield _telegram(settings)
        yield _clock(engine)
    yield from _public_url(settings)


def _print(finding: Finding) -> None:
    state = click.style(f"{finding.state:<8}", fg=_COLOURS[finding.state])
    click.echo(f"{state} {finding.name:<10} {finding.found}")
    if finding.advice:
        click.echo(f"{'':<20}→ {finding.advice}")


def _database(engine: Engine) -> Iterator[Finding]:
    try:
        with engine.connect() as connection:
            version = connection.dialect.server_version_info
            revision = migrations.current_revision(connection)
    except SQLAlchemyError as exc:
        yield Finding("database", "failed", _reason(exc), "start PostgreSQL, or mend DATABASE_URL")
        return
    yield Finding("database", "ok", f"PostgreSQL {'.'.join(map(str, version or ()))}")
    head = migrations.head_revision()
    if revision == head:
        yield Finding("schema", "ok", f"revision {revision}")
    else:
        yield Finding("schema", "failed", f"revision {revision}, newest {head}", "run: python -m app migrate")


def _redis(name: str, url: str) -> Iterator[Finding]:
    client = redis.Redis.from_url(url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS)
    setting = {"redis": "REDIS_URL", "broker": "CELERY_BROKER_URL"}[name]
    try:
        server = client.info("server")
        memory, persistence = client.info("memory"), client.info("persistence")
    except RedisError as exc:
        yield Finding(name, "failed", _reason(exc), f"start Redis, or mend {setting}")
        return
    finally:
        client.close()
    yield Finding(name, "ok", f"Redis {server['redis_version']}")
    if memory.get("maxmemory_policy", "noeviction") != "noeviction":
        yield Finding(
            name,
            "warning",
            f"maxmemory-policy is {memory['maxmemory_policy']}",
            "set it to noeviction: Redis would throw away locks and queued messages",
        )
    if not persistence.get("aof_enabled"):
        yield Finding(
            name, "warning", "no append-only file", "set appendonly yes: a restart then keeps queues and rate limits"
        )


def _keys(settings: Settings, engine: Engine) -> Finding:
    try:
        provider = make_key_provider(settings)
        probe = os.urandom(32)
        wrapped = provider.wrap(key_id="doctor", data_key=probe)
        if provider.unwrap(wrapped) != probe:
            return Finding("keys", "failed", f"{provider.name} does not give back what it wrapped", "check its key")
        count = _unwrap_stored_keys(engine, provider.unwrap)
    except SealBroken as exc:
        return Finding("keys", "failed", exc.detail, "give this process the key that wrapped the stored ones")
    except AppError as exc:
        return Finding("keys", "failed", exc.detail, "check KEY_PROVIDER and its settings")
    except SQLAlchemyError:
        return Finding("keys", "warning", f"{provider.name} works; the stored keys could not be read")
    except Exception as exc:  # noqa: BLE001  # the provider's network: anything it says is a finding
        return Finding("keys", "failed", _reason(exc), "check KEY_PROVIDER and its settings")
    return Finding("keys", "ok", f"{provider.name}, unwraps {count} of {count} stored keys")


def _unwrap_stored_keys(engine: Engine, unwrap: Callable[[WrappedKey], bytes]) -> int:
    with DatabaseSession(engine) as db:
        keys = db.scalars(select(EncryptionKey).where(EncryptionKey.wrapped_key.is_not(None))).all()
    for key in keys:
        assert key.wrapped_key is not None
        unwrap(WrappedKey(key.id, key.provider, key.wrapping_key_id, key.wrapped_key))
    return len(keys)


def _bucket(settings: Settings) -> Finding:
    if settings.s3_bucket is None:
        return Finding("backups", "warning", "S3_BUCKET is not set", "without it there are no backups")
    import boto3  # takes a third of a second to import: only when there is a bucket
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    config = Config(connect_timeout=_TIMEOUT_SECONDS, read_timeout=_TIMEOUT_SECONDS, retries={"total_max_attempts": 1})
    try:
        client = boto3.client("s3", endpoint_url=settings.s3_endpoint_url, config=config)
        client.head_bucket(Bucket=settings.s3_bucket)
    except (BotoCoreError, ClientError) as exc:
        advice = "make the bucket, or mend S3_BUCKET, S3_ENDPOINT_URL and the AWS credentials"
        return Finding("backups", "failed", _reason(exc), advice)
    return Finding("backups", "ok", f"bucket {settings.s3_bucket}")


def _telegram(settings: Settings) -> Finding:
    if settings.telegram_proxy is not None:
        return Finding("telegram", "warning", "goes through TELEGRAM_PROXY; not tried")
    data_centre = settings.data_centre or _TELEGRAM
    started = time.monotonic()
    try:
        with socket.create_connection((data_centre.host, data_centre.port), timeout=_TIMEOUT_SECONDS):
            took_ms = (time.monotonic() - started) * 1000
    except OSError as exc:
        advice = "allow outgoing TCP to it, set TELEGRAM_PROXY, or mend TELEGRAM_DC_ADDRESS"
        return Finding("telegram", "failed", f"{data_centre.host}:{data_centre.port}: {_reason(exc)}", advice)
    return Finding("telegram", "ok", f"data centre {data_centre.dc_id} answers TCP in {took_ms:.0f} ms")


def _clock(engine: Engine) -> Finding:
    try:
        with engine.connect() as connection:
            theirs: datetime = connection.scalars(select(func.clock_timestamp())).one()
    except SQLAlchemyError:
        return Finding("clock", "warning", "not compared: the database is away")
    off_seconds = (utc_now() - theirs).total_seconds()
    if abs(off_seconds) > _CLOCK_TOLERANCE_SECONDS:
        return Finding("clock", "warning", f"{off_seconds:+.1f} s from the database's", "run NTP on both machines")
    return Finding("clock", "ok", f"{off_seconds:+.2f} s from the database's")


def _public_url(settings: Settings) -> Iterator[Finding]:
    found = find_exposures(settings)
    for each in found:
        yield Finding("public url", "warning", each.found, each.advice)
    if not found:
        yield Finding("public url", "ok", settings.public_url)


def _reason(exc: BaseException) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]
