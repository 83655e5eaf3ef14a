"""The image and containers of it, by pytest-celery. Without a Docker engine the tests that need one say that they did not run.

PostgreSQL and Redis are containers too. The sandbox runs on this machine, and so does what the web would do.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from celery import Celery
from docker.errors import DockerException
from pytest_celery import (
    CeleryTestWorker,
    CeleryWorkerCluster,
    RedisContainer,
    RedisTestBroker,
)
from pytest_celery.api.broker import CeleryBrokerCluster
from pytest_docker_tools import build, container, fxtr, volume
from pytest_docker_tools.wrappers import Container

from app.core import Core, build_core
from app.database import make_engine
from app.dispatch import make_dispatch, make_producer
from app.migrations import migrate
from app.models import Tenant
from sandbox.process import RunningSandbox, start_sandbox
from tests.builders import API_HASH, API_ID, make_settings
from tests.containers.workers import FILES, HOST, BackgroundWorkerContainer, LoginWorkerContainer

_ROOT = Path(__file__).resolve().parents[2]
_COMPOSE = yaml.safe_load((_ROOT / "docker-compose.yml").read_text())["services"]
_PASSWORD = "of-the-containers"


@cache
def _why_not() -> str | None:
    """Why no container can be started here; None: they can."""
    try:
        client = docker.from_env(timeout=5)
        client.ping()
    except DockerException:
        return "no Docker engine"
    client.close()
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before any fixture: pytest-celery's own ask the engine at once."""
    for item in items:
        if item.get_closest_marker("docker") and (reason := _why_not()):
            item.add_marker(pytest.mark.skip(reason=reason))


class PostgresContainer(Container):
    """PostgreSQL, as the compose file has it."""

    def ready(self) -> bool:
        """It says so twice: the first time it listens to nobody but its own set-up."""
        ready = "database system is ready to accept connections"
        return bool(super().ready()) and self.logs().count(ready) > 1

    def url(self, *, inside: bool) -> str:
        """As the other containers reach it, or as this machine does."""
        host = f"{self.attrs['Config']['Hostname']}:5432"
        if not inside:
            ip, port = self.get_addr("5432/tcp")
            host = f"{ip}:{port}"
        return f"postgresql+psycopg2://latchkey:{_PASSWORD}@{host}/latchkey"


latchkey_image = build(path=str(_ROOT), tag="latchkey:test", rm=True)

postgres_container = container(
    image=_COMPOSE["postgres"]["image"],
    environment={"POSTGRES_USER": "latchkey", "POSTGRES_DB": "latchkey", "POSTGRES_PASSWORD": _PASSWORD},
    network="{default_pytest_celery_network.name}",
    ports={"5432/tcp": None},
    wrapper_class=PostgresContainer,
    timeout=60,
)

worker_files = volume(initial_content=fxtr("worker_file_contents"))


def _worker(wrapper: type[LoginWorkerContainer | BackgroundWorkerContainer]) -> Any:
    return container(
        image="{latchkey_image.id}",
        command=wrapper.command(),
        environment=fxtr("worker_settings"),
        network="{default_pytest_celery_network.name}",
        extra_hosts={HOST: "host-gateway"},
        volumes={"{worker_files.name}": {"bind": FILES, "mode": "ro"}},
        wrapper_class=wrapper,
        timeout=60,
    )


login_worker_container = _worker(LoginWorkerContainer)
background_worker_container = _worker(BackgroundWorkerContainer)


@pytest.fixture
def default_redis_broker_image() -> str:
    """Redis, as the compose file has it."""
    return str(_COMPOSE["redis"]["image"])


@pytest.fixture
def celery_broker_cluster(celery_redis_broker: RedisTestBroker) -> Iterator[CeleryBrokerCluster]:
    """Redis alone, not every broker that the plugin knows."""
    cluster = CeleryBrokerCluster(celery_redis_broker)
    yield cluster
    cluster.teardown()


@pytest.fixture
def celery_backend_cluster() -> None:
    """No results are kept."""


@pytest.fixture
def celery_worker_cluster(
    login_worker_container: LoginWorkerContainer,
    background_worker_container: BackgroundWorkerContainer,
    celery_setup_app: Celery,
) -> Iterator[CeleryWorkerCluster]:
    """Both kinds of worker."""
    containers = (login_worker_container, background_worker_container)
    cluster = CeleryWorkerCluster(*(CeleryTestWorker(each, app=celery_setup_app) for each in containers))
    yield cluster
    cluster.teardown()


@pytest.fixture(scope="session")
def telegram(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    """A sandbox that containers can reach."""
    with start_sandbox(tmp_path_factory.mktemp("sandbox"), host="0.0.0.0") as running:
        yield running


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The key that the workers and this process seal with."""
    path = tmp_path_factory.mktemp("key") / "local.key"
    path.write_bytes(base64.b64encode(os.urandom(32)))
    return path


@pytest.fixture
def worker_file_contents(key_file: Path, telegram: RunningSandbox) -> dict[str, bytes]:
    """What the workers read from files."""
    return {"local.key": key_file.read_bytes(), "sandbox.pub.pem": telegram.public_key_file.read_bytes()}


@pytest.fixture
def worker_settings(
    migrated_postgres: PostgresContainer, telegram: RunningSandbox, celery_worker_cluster_config: dict[str, Any]
) -> Any:
    """The environment of the workers."""
    return LoginWorkerContainer.initial_env(
        celery_worker_cluster_config,
        initial={
            "DATABASE_URL": migrated_postgres.url(inside=True),
            "TELEGRAM_API_ID": str(API_ID),
            "TELEGRAM_API_HASH": API_HASH,
            "TELEGRAM_DC_ADDRESS": f"2:{HOST}:{telegram.dcs[2]}",
            "TELEGRAM_PUBLIC_KEY_FILE": f"{FILES}/sandbox.pub.pem",
            "LOCAL_KEY_FILE": f"{FILES}/local.key",
        },
    )


@pytest.fixture
def migrated_postgres(postgres_container: PostgresContainer) -> PostgresContainer:
    """PostgreSQL with our tables."""
    engine = make_engine(postgres_container.url(inside=False))
    migrate(engine)
    engine.dispose()
    return postgres_container


@pytest.fixture
def web(migrated_postgres: PostgresContainer, default_redis_broker: RedisContainer, key_file: Path) -> Iterator[Core]:
    """The parts that a web process has, on the containers' stores, with the tenant alice."""
    database_url, redis_url = migrated_postgres.url(inside=False), default_redis_broker.host_url
    settings = make_settings(database_url=database_url, redis_url=redis_url, key_file=key_file)
    core = build_core(settings, role="web", dispatch=make_dispatch(make_producer(settings)))
    with core.transaction() as db:
        db.add(Tenant(id="alice", name="Alice"))
    yield core
    core.engine.dispose()
    core.redis.close()
