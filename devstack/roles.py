"""The roles of Latchkey as programs: the command line of each, the same ones that docker-compose.yml runs.

Knows how a role is started and asked whether it is ready; not in which order, nor what the settings mean.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devstack.objectstore import prepare_object_store
from devstack.ports import HOST, accepts
from devstack.probes import answers_ok
from devstack.programs import Program

ROOT = Path(__file__).resolve().parent.parent
EXPORTER_PYTHON = ROOT / ".venv-exporter" / "bin" / "python"

# What beat and Flower are given: ``app.settings.QueueSettings``.
_QUEUE_SETTINGS = ("REDIS_URL", "CELERY_BROKER_URL", "BACKUP_INTERVAL_SECONDS", "LOG_LEVEL", "LOG_FORMAT")
_CELERY = (sys.executable, "-m", "celery", "-A", "tasks")
_WORKER_STOP_SECONDS = 60.0  # a login worker hands its logins over before it goes
_LOGIN_THREADS = 1_000  # made as they are needed; a waiting login costs one, some 90 KiB in all
_BACKGROUND_THREADS = (
    12  # three validate, three log out, five rotate and back up: what resumes logins finds one all the same
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the roles run: the stack's folder, and the settings that they share.

    Args:
        environment: the whole environment of a role that needs everything.
        settings: the names in it that are Latchkey's settings.
    """

    folder: Path
    environment: Mapping[str, str] = field(repr=False)
    settings: frozenset[str] = frozenset()

    def log(self, name: str) -> Path:
        """The log of a program."""
        return self.folder / "logs" / f"{name}.log"

    def with_settings(self, **settings: str | int) -> dict[str, str]:
        """The shared environment and the settings of one program alone."""
        return {**self.environment, **{name: str(value) for name, value in settings.items()}}

    def with_only(self, *names: str, **settings: str | int) -> dict[str, str]:
        """The environment with these settings and no other, for a role that needs neither keys nor a database."""
        kept = {name: value for name, value in self.environment.items() if name in names or name not in self.settings}
        return {**kept, **{name: str(value) for name, value in settings.items()}}


@dataclass(frozen=True, kw_only=True)
class SandboxPorts:
    """Where the sandbox listens: the same ports again after a restart, because clients know them."""

    control: int
    data_centres: tuple[int, int, int]


def sandbox(place: Place, *, ports: SandboxPorts, public_key_file: Path) -> Program:
    """The local Telegram, which keeps its accounts and keys over a restart."""
    ready_file = place.folder / "sandbox.ready.json"
    token_seconds = place.environment.get("SANDBOX_TOKEN_SECONDS", "30")
    return Program(
        name="sandbox",
        command=(
            *(sys.executable, "-m", "sandbox", "serve", "--host", HOST),
            *("--control-port", str(ports.control)),
            *("--dc-ports", ",".join(map(str, ports.data_centres))),
            *("--public-key-file", str(public_key_file)),
            *("--state-file", str(place.folder / "sandbox.state")),
            *("--ready-file", str(ready_file)),
            *("--token-seconds", token_seconds),
        ),
        folder=place.folder,
        environment=place.environment,
        log=place.log("sandbox"),
        ready=lambda: _is_written(ready_file) and answers_ok(f"http://{HOST}:{ports.control}/stats"),
        orphan_signal=signal.SIGTERM,
    )


def object_store(place: Place, *, port: int, bucket: str, key_alias: str) -> Program:
    """An emulator of S3 and KMS, in memory; it is ready once its bucket and key are there."""
    credentials = (place.environment["AWS_ACCESS_KEY_ID"], place.environment["AWS_SECRET_ACCESS_KEY"])
    address = f"http://{HOST}:{port}"
    return Program(
        name="s3",
        command=(sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)),
        folder=place.folder,
        environment=place.environment,
        log=place.log("s3"),
        ready=lambda: (
            accepts(port) and prepare_object_store(address, bucket=bucket, key_alias=key_alias, credentials=credentials)
        ),
    )


def web(place: Place, *, port: int) -> Program:
    """The HTTP API and the pages."""
    return Program(
        name="web",
        command=(sys.executable, "-m", "gunicorn", "-c", str(ROOT / "deploy" / "gunicorn.py"), "web:create_app()"),
        folder=place.folder,
        environment=place.with_settings(
            HOST=HOST, PORT=port, PROMETHEUS_MULTIPROC_DIR=str(place.folder / "web-metrics")
        ),
        log=place.log("web"),
        ready=lambda: answers_ok(f"http://{HOST}:{port}/healthz"),
    )


def login_worker(place: Place, *, number: int, metrics_port: int) -> Program:
    """A worker that holds logins until they end."""
    threads = int(place.environment.get("LOGIN_THREADS", _LOGIN_THREADS))
    return _worker(place, f"worker-logins-{number}", "logins", threads, metrics_port)


def background_worker(place: Place, *, metrics_port: int) -> Program:
    """The worker of everything that is not a login."""
    return _worker(place, "worker-background-1", "background,webhooks", _BACKGROUND_THREADS, metrics_port)


def _worker(place: Place, name: str, queue: str, threads: int, metrics_port: int) -> Program:
    return Program(
        name=name,
        command=(*_CELERY, "worker", "-Q", queue, "-P", "threads", "-c", str(threads), "-n", f"{name}@%h"),
        folder=place.folder,
        environment=place.with_settings(METRICS_PORT=metrics_port),
        log=place.log(name),
        ready=lambda: accepts(metrics_port),
        stop_seconds=_WORKER_STOP_SECONDS,
    )


def beat(place: Place, *, metrics_port: int) -> Program:
    """The clock."""
    return Program(
        name="beat",
        command=(*_CELERY, "beat", "-S", "redbeat.RedBeatScheduler", "--pidfile="),
        folder=place.folder,
        environment=place.with_only(*_QUEUE_SETTINGS, METRICS_PORT=metrics_port),
        log=place.log("beat"),
        ready=lambda: accepts(metrics_port),
    )


def flower(place: Place, *, port: int, broker_url: str) -> Program:
    """Task inspection, behind basic authentication (FLOWER_BASIC_AUTH)."""
    return Program(
        name="flower",
        command=(*_CELERY, "flower", f"--conf={ROOT / 'deploy' / 'flower.py'}", f"--address={HOST}", f"--port={port}"),
        folder=place.folder,
        environment=place.with_only(
            *_QUEUE_SETTINGS, "FLOWER_BASIC_AUTH", REDIS_URL=broker_url, CELERY_BROKER_URL=broker_url
        ),
        log=place.log("flower"),
        ready=lambda: answers_ok(f"http://{HOST}:{port}/healthcheck"),
    )


def exporter(place: Place, *, port: int, broker_url: str) -> Program:
    """Celery's own metrics, from an environment of its own."""
    return Program(
        name="exporter",
        command=(
            *(str(EXPORTER_PYTHON), "-c", "from src.cli import cli; cli()"),
            *(
                "--broker-url",
                broker_url,
                "--host",
                HOST,
                "--port",
                str(port),
                "--queues",
                "logins,background,webhooks",
            ),
        ),
        folder=place.folder,
        environment=place.with_only(),
        log=place.log("exporter"),
        ready=lambda: accepts(port),
    )


def _is_written(ready_file: Path) -> bool:
    try:
        return bool(json.loads(ready_file.read_text()))
    except (OSError, ValueError):
        return False
