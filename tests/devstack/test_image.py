"""The production form for real, as far as there is no Docker: the image's tree, the compose file's services, one login."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import pytest
import redis
import requests

from devstack.folder import remove_folder
from devstack.ports import free_port
from devstack.postgres import prepare_postgres
from devstack.programs import running
from devstack.redis import redis_program
from devstack.roles import Place, object_store
from sandbox.process import RunningSandbox, start_sandbox
from tests.devstack.image import Image, Service, build_image, make_folder, read_services
from tests.waiting import wait_until

_KEY = base64.b64encode(os.urandom(32)).decode()
_RUN_ONCE = ("migrate", "bucket")
_LASTING = ("web", "worker-logins", "worker-background", "beat", "flower")


@dataclass(frozen=True)
class Production:
    """The services as they run, their stores beside them."""

    image: Image
    services: Mapping[str, Service]
    processes: Mapping[str, Popen[bytes]]
    web: str
    sandbox: RunningSandbox
    folder: Path

    def app(self, *words: str) -> str:
        """Run the command line where an operator would, in the web's container."""
        done = self.image.run(["python", "-m", "app", *words], self.services["web"].settings)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def healthy(self) -> set[str]:
        """The services whose health check is content."""
        with ThreadPoolExecutor() as pool:
            found = pool.map(lambda name: self.services[name].is_healthy(self.image), _LASTING)
            return {name for name, well in zip(_LASTING, found, strict=True) if well}


@pytest.fixture(scope="module")
def production() -> Iterator[Production]:
    """The image, its services until they are healthy, their stores from wheels, the sandbox as Telegram."""
    folder = make_folder()
    with ExitStack() as stack:
        stack.callback(remove_folder, folder)
        image = build_image(folder)
        sandbox = stack.enter_context(start_sandbox(folder))
        given, replaced = _start_stores(stack, folder, sandbox)
        own = _owned(folder / "own", image)
        (own / "local.key").write_text(_KEY)
        replaced[""] |= {r"/run/secrets/local_key": str(own / "local.key"), r"/tmp/metrics": str(own / "metrics")}
        services = {service.name: service for service in read_services(given, replaced=replaced)}
        assert set(services) == {*_RUN_ONCE, *_LASTING}
        for name in _RUN_ONCE:
            done = image.run(services[name].command, services[name].settings)
            assert done.returncode == 0, done.stderr
        logs = {name: stack.enter_context(running(services[name].program(image, folder))) for name in _LASTING}
        web = services["web"].settings
        yield Production(image, services, logs, f"http://{web['HOST']}:{web['PORT']}", sandbox, folder)


def _start_stores(
    stack: ExitStack, folder: Path, sandbox: RunningSandbox
) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """What `.env` would hold, and what stands for the compose network's addresses."""
    postgres = prepare_postgres(folder, port=free_port(), log=folder / "postgres.log")
    stack.enter_context(running(postgres.program))
    postgres.create_database("latchkey")
    redis_port, s3_port = free_port(), free_port()
    passwords = {"service": "of-roles", "watcher": "of-flower"}
    program = redis_program(folder / "redis", port=redis_port, log=folder / "redis.log", passwords=passwords)
    stack.enter_context(running(program))
    with redis.Redis(port=redis_port) as client:
        client.config_set("requirepass", "of-redis")
    place = Place(folder=folder, environment={**os.environ, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
    stack.enter_context(running(object_store(place, port=s3_port, bucket="other", key_alias="alias/other")))
    given = {
        "POSTGRES_PASSWORD": postgres.password,
        "POSTGRES_SERVICE_PASSWORD": "of-the-service",
        "REDIS_PASSWORD": "of-redis",
        "REDIS_SERVICE_PASSWORD": passwords["service"],
        "REDIS_WATCHER_PASSWORD": passwords["watcher"],
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "FLOWER_BASIC_AUTH": "operator:of-flower",
        "TELEGRAM_API_ID": "12345",
        "TELEGRAM_API_HASH": "0123456789abcdef0123456789abcdef",
        "TELEGRAM_DC_ADDRESS": f"2:127.0.0.1:{sandbox.dcs[2]}",
        "TELEGRAM_PUBLIC_KEY_FILE": str(sandbox.public_key_file),
    }
    ports = {name: {r"\b9100\b": str(free_port())} for name in _LASTING}
    everywhere = {
        r"@postgres:5432": f"@127.0.0.1:{postgres.port}",
        r"@redis:6379": f"@127.0.0.1:{redis_port}",
        r"http://s3:8333": f"http://127.0.0.1:{s3_port}",
        r"\b0\.0\.0\.0\b": "127.0.0.1",
        r"\b8000\b": str(free_port()),
        r"\b5555\b": str(free_port()),
    }
    return given, {"": everywhere, **ports}


def _owned(folder: Path, image: Image) -> Path:
    """A folder that the image's user may write to, as its tmpfs."""
    folder.mkdir()
    if image.account:
        os.chown(folder, image.account.uid, image.account.gid)
    return folder


def test_somebody_logs_in_on_the_production_form(production: Production) -> None:
    """Everything that the image needs is in it, nothing is written to it, and every health check is content."""
    production.app("tenant", "create", "acme", "--name", "Acme")
    made = json.loads(production.app("api-key", "create", "--tenant", "acme", "--scopes", "logins", "--json"))
    headers = {"Authorization": f"Bearer {made['key']}"}
    wait_until(lambda: production.healthy() == set(_LASTING), within_seconds=60, every_seconds=0.5)
    login = requests.post(f"{production.web}/v1/logins", json={}, headers=headers, timeout=10).json()

    def status() -> dict[str, str]:
        found: dict[str, str] = requests.get(
            f"{production.web}/v1/logins/{login['id']}", headers=headers, timeout=10
        ).json()
        return found

    shown = wait_until(lambda: status()["qr"])
    account = production.sandbox.driver.create_account()
    production.sandbox.driver.scan(account["id"], shown["url"])  # type: ignore[index]
    wait_until(lambda: status()["status"] == "authorized")
    production.app("doctor")
    for name in _LASTING:
        assert "Traceback" not in (production.folder / f"{name}.log").read_text(errors="replace"), name


def test_a_process_that_hangs_fails_its_health_check(production: Production) -> None:
    """Each of them: it still runs, and does nothing any more."""
    wait_until(lambda: production.healthy() == set(_LASTING), within_seconds=60, every_seconds=0.5)
    for process in production.processes.values():
        os.killpg(process.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: production.healthy() == set(), within_seconds=40, every_seconds=0.5)
    finally:
        for process in production.processes.values():
            os.killpg(process.pid, signal.SIGCONT)
