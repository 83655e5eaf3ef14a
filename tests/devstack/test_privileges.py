"""Least privilege: a container has the settings, secrets and networks of its role, a process those of its own."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from redis.exceptions import NoPermissionError

from app.settings import DatabaseSettings, QueueSettings
from devstack.ports import HOST, free_port
from devstack.programs import Program, running
from devstack.redis import redis_binary
from devstack.roles import ROOT

_COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
_SECRETS = {
    "DATABASE_URL",
    "DATABASE_OWNER_URL",
    "REDIS_URL",
    "TELEGRAM_API_HASH",
    "TELEGRAM_BOT_TOKEN",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "LOCAL_KEY_FILE",
    "S3_BUCKET",
    "FLOWER_BASIC_AUTH",
    "CE_BROKER_URL",
}
_SERVING = {"DATABASE_URL", "REDIS_URL", "TELEGRAM_API_HASH", "OTEL_EXPORTER_OTLP_HEADERS", "LOCAL_KEY_FILE"}
_MAY_KNOW = {
    "migrate": {"DATABASE_URL", "DATABASE_OWNER_URL"},
    "web": {*_SERVING, "TELEGRAM_BOT_TOKEN"},
    "worker-logins": _SERVING,
    "worker-background": {*_SERVING, "S3_BUCKET"},
    "beat": {"REDIS_URL"},
    "flower": {"REDIS_URL", "FLOWER_BASIC_AUTH"},
    "celery-exporter": {"CE_BROKER_URL"},
    "bucket": {"S3_BUCKET"},
}


def settings_of(service: str) -> dict[str, Any]:
    """What a container's environment says."""
    found: dict[str, Any] = _COMPOSE[service]["environment"]
    return found


@pytest.mark.parametrize("service", _MAY_KNOW)
def test_a_container_has_the_secrets_of_its_role_alone(service: str) -> None:
    """Beat, Flower, the exporter and the bucket's maker have no key and no database; only migrations own tables."""
    assert set(settings_of(service)) & _SECRETS == _MAY_KNOW[service]
    has_key = "local_key" in _COMPOSE[service].get("secrets", ())
    assert has_key == ("LOCAL_KEY_FILE" in _MAY_KNOW[service])
    bucket_credentials = "${AWS_SECRET_ACCESS_KEY:-}" in settings_of(service).values()
    assert bucket_credentials == ("S3_BUCKET" in _MAY_KNOW[service])


@pytest.mark.parametrize(
    ("service", "kind"), [("beat", QueueSettings), ("flower", QueueSettings), ("migrate", DatabaseSettings)]
)
def test_a_small_role_starts_with_what_it_is_given(service: str, kind: type[QueueSettings | DatabaseSettings]) -> None:
    """Nothing that it is given is unknown to it, and what it cannot do without is there."""
    names = {name.lower() for name in settings_of(service)}
    needed = {name for name, field in kind.model_fields.items() if field.is_required()}
    assert needed <= names
    assert names - {"flower_basic_auth", "log_level", "log_format"} <= set(kind.model_fields)


def test_each_store_is_on_a_network_of_its_own() -> None:
    """Who has no business with a store cannot reach it; every container says what it may take at most."""
    on = {name: set(service["networks"]) for name, service in _COMPOSE.items()}
    assert {name for name, networks in on.items() if "postgres" in networks} == {
        *("postgres", "migrate", "web", "worker-logins", "worker-background")
    }
    assert {name for name, networks in on.items() if "s3" in networks} == {"s3", "bucket", "worker-background"}
    assert "redis" not in on["migrate"] | on["bucket"] | on["prometheus"] | on["grafana"]
    for store in ("postgres", "redis", "s3"):
        assert on[store] == {store}
        assert "ports" not in _COMPOSE[store]
    assert all(
        {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"]) for service in _COMPOSE.values()
    )


def test_seaweedfs_is_reached_by_its_s3_port_alone() -> None:
    """Its master, volumes and filer ask nobody for a password."""
    command = _COMPOSE["s3"]["entrypoint"][-1]
    assert "-ip.bind=127.0.0.1" in command
    assert "-s3.ip.bind=0.0.0.0" in command


@pytest.fixture(scope="module")
def production_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Redis as the container starts it; its port."""
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    shims = folder / "bin"
    shims.mkdir()
    for name, text in (
        ("docker-entrypoint.sh", '#!/bin/sh\nexec "$@"\n'),
        ("redis-server", f'#!/bin/sh\nexec {redis_binary()} --port {port} --bind {HOST} --dir {folder} "$@"\n'),
    ):
        (shims / name).write_text(text)
        (shims / name).chmod(stat.S_IRWXU)
    program = Program(
        name="redis",
        command=("sh", str(ROOT / "deploy" / "redis" / "start.sh")),
        log=folder / "redis.log",
        environment={
            "PATH": f"{shims}:{os.environ['PATH']}",
            "REDIS_PASSWORD": "a",
            "REDIS_SERVICE_PASSWORD": "s",
            "REDIS_WATCHER_PASSWORD": "w",
        },
        ready=lambda: bool(_as("default", "a", port).ping()),
    )
    with running(program):
        yield port


def _as(user: str, password: str, port: int) -> redis.Redis:
    return redis.Redis(host=HOST, port=port, username=user, password=password, socket_timeout=5)


def test_redis_users_can_do_what_they_have_to_and_no_more(production_redis: int) -> None:
    """Nobody without a password; neither user administers or empties; Flower's sees none of Latchkey's keys."""
    service, watcher = _as("service", "s", production_redis), _as("watcher", "w", production_redis)
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(host=HOST, port=production_redis).ping()
    service.set("latchkey:login:lgn_1:qr", "sealed")
    assert service.info("server")
    service.lpush("logins", "message")
    assert watcher.llen("logins") == 1
    with pytest.raises(NoPermissionError):
        watcher.get("latchkey:login:lgn_1:qr")
    for client in (service, watcher):
        for forbidden in (
            client.flushall,
            client.flushdb,
            client.config_get,
            client.save,
            lambda c=client: c.keys("*"),
        ):
            with pytest.raises(NoPermissionError):
                forbidden()
    assert _as("default", "a", production_redis).config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_redis_does_not_start_without_its_passwords(tmp_path: Path) -> None:
    """It says which one is missing."""
    done = subprocess.run(
        ["sh", str(ROOT / "deploy" / "redis" / "start.sh")],
        env={"PATH": os.environ["PATH"], "REDIS_PASSWORD": "a"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert done.returncode != 0
    assert "REDIS_SERVICE_PASSWORD" in done.stderr
