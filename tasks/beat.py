"""Beat's own part: what it tells operators. Of several beats one sends, and the others stand by for its lock."""

from __future__ import annotations

import time
from typing import Any

import redis
from celery.signals import beat_init, before_task_publish
from prometheus_client import CollectorRegistry, Counter, Gauge

from app.errors import AppError
from app.readiness import Check, Readiness
from app.redis_state import make_redis
from app.settings import QueueSettings
from tasks.operators import OperatorsServer

_LATE_SECONDS = 10.0  # what is sent most often is sent every second


class _Idle(AppError):
    """Raised when neither this beat nor another sends anything."""

    code = "not_ready"


class Ticking:
    """What this beat has sent, and when last."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._sent = Counter(
            "beat_sent", "Tasks that beat has sent.", ["task"], namespace="telethon", registry=registry
        )
        self._last_sent = Gauge(
            "beat_last_sent_timestamp_seconds", "When beat last sent anything.", namespace="telethon", registry=registry
        )
        self._at = 0.0

    def note(self, task: str) -> None:
        """Note that a task was sent."""
        self._at = time.monotonic()
        self._sent.labels(task=task).inc()
        self._last_sent.set_to_current_time()

    def ask(self, client: redis.Redis, lock_key: str) -> str:
        """Say whether somebody sends.

        Raises:
            _Idle: nobody does.
        """
        if self._at and time.monotonic() - self._at < _LATE_SECONDS:
            return "sends"
        if client.exists(lock_key):  # it ends by itself when whoever holds it does nothing
            return "stands by: another beat sends"
        raise _Idle("It has sent nothing for ten seconds, and no other beat holds the lock.")


def install_beat(settings: QueueSettings, *, lock_key: str) -> None:
    """Serve operators once this process is a beat; does nothing in any other."""

    def start(**_: Any) -> None:
        registry = CollectorRegistry()
        ticking = Ticking(registry)
        before_task_publish.connect(lambda sender=None, **_: ticking.note(str(sender)), weak=False)
        if settings.metrics_port is None:
            return
        client = make_redis(settings.redis_url)
        checks = {
            "redis": Check(lambda: "answers" if client.ping() else "does not"),
            "schedule": Check(lambda: ticking.ask(client, lock_key)),
        }
        OperatorsServer(settings.metrics_host, settings.metrics_port, registry=registry, readiness=Readiness(checks))

    beat_init.connect(start, weak=False)
