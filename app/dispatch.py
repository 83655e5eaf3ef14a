"""Sending a task by its name, after the commit. The committed row is the truth, the message only a hint.

``app`` does not import ``tasks``: whoever builds the process (``web``, ``tasks``, the command line) passes it in.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Protocol

from celery import Celery

from app.brokers import BROKER_ERRORS, broker_settings, is_rabbitmq
from app.correlation import message_headers
from app.database import after_commit
from app.logs import get_logger
from app.settings import Settings
from app.tracing import span, trace_headers

_log = get_logger(__name__)


class Dispatch(Protocol):
    """Sends a task by its name; True when the broker took it."""

    def __call__(self, task: str, *args: str, countdown_seconds: float = 0.0) -> bool: ...


def make_dispatch(celery_app: Celery) -> Dispatch:
    """Bind the sender to a Celery app. A broker that is away costs seconds, not the work: a beat sweep sends again."""

    def dispatch(task: str, *args: str, countdown_seconds: float = 0.0) -> bool:
        return after_commit(lambda: send(task, *args, countdown_seconds=countdown_seconds)) or send(
            task, *args, countdown_seconds=countdown_seconds
        )

    def send(task: str, *args: str, countdown_seconds: float) -> bool:
        try:
            # The instrumentation of Celery makes the span of a task that this process knows.
            with nullcontext() if task in celery_app.tasks else span(f"send/{task}", kind="PRODUCER"):
                headers = message_headers() | trace_headers()
                celery_app.send_task(
                    task, args=args, countdown=countdown_seconds or None, headers=headers, **_again(celery_app)
                )
        except BROKER_ERRORS as exc:
            _log.warning("dispatch.deferred", task=task, error=type(exc).__name__)
            return False
        return True

    return dispatch


def _again(celery_app: Celery) -> dict[str, Any]:
    """Whether to try twice: only a use shows that RabbitMQ has closed a connection. Redis' client sees to that itself."""
    if not is_rabbitmq(celery_app.conf.broker_write_url):
        return {"retry": False}
    return {"retry": True, "retry_policy": {"max_retries": 1, "interval_start": 0, "interval_step": 0}}


def make_producer(settings: Settings) -> Celery:
    """A Celery app that can only send: for processes that run no tasks themselves (``web``, the command line)."""
    broker = broker_settings(settings.broker_url)
    producer = Celery("latchkey-producer", broker=broker["broker_url"], set_as_current=False)
    producer.config_from_object("celeryconfig")
    producer.conf.update(broker)
    return producer
