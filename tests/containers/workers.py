"""Our image as pytest-celery's worker containers: how each is started, what it is told, when it is ready."""

from __future__ import annotations

from typing import Any

from pytest_celery import CeleryWorkerContainer

FILES = "/run/latchkey"
"""Where a worker's container has the key file and the sandbox's public key."""

HOST = "host.docker.internal"
"""This machine, as a container calls it."""


class LatchkeyWorkerContainer(CeleryWorkerContainer):
    """A worker in the image of the Dockerfile, started as docker-compose.yml starts it."""

    @classmethod
    def command(cls, *args: str, debugpy: bool = False, wait_for_client: bool = True, **kwargs: Any) -> list[str]:
        """As the compose file has it; the image has nothing to debug with."""
        celery = ["celery", "-A", "tasks", "worker", "-Q", cls.worker_queue(), "-P", "threads"]
        return [*celery, "-c", "20", "-n", f"{cls.worker_name()}@%h", *args]

    @classmethod
    def initial_env(cls, celery_worker_cluster_config: dict[str, Any], initial: dict[str, str] | None = None) -> Any:
        """The settings given, with the broker of the test as broker and for all other state."""
        [broker] = celery_worker_cluster_config["celery_broker_cluster_config"]["urls"]
        return {"REDIS_URL": broker, "LOG_LEVEL": "INFO", "LOG_FORMAT": "json", **(initial or {})}


class LoginWorkerContainer(LatchkeyWorkerContainer):
    """Drives logins."""

    @classmethod
    def worker_name(cls) -> str:
        """The first part of its name in Celery."""
        return "worker-logins"

    @classmethod
    def worker_queue(cls) -> str:
        """What it takes from."""
        return "logins"


class BackgroundWorkerContainer(LatchkeyWorkerContainer):
    """Does the rest."""

    @classmethod
    def worker_name(cls) -> str:
        """The first part of its name in Celery."""
        return "worker-background"

    @classmethod
    def worker_queue(cls) -> str:
        """What it takes from."""
        return "background,webhooks"
