"""The Celery app, its beat schedule, and what a worker process builds when it starts and ends when it stops.

``celery -A tasks worker -Q logins -P threads -c 1000`` drives logins,
``… -Q background,webhooks -P threads -c 12`` does the rest.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from typing import Any

from celery import Celery
from celery.signals import setup_logging

from app.errors import SettingsError
from app.logs import configure_logs
from app.settings import Settings, load_settings
from tasks.bootsteps import DrainLogins, Operators, Parts


class LatchkeyCelery(Celery):
    """Celery's app with our settings beside its own, where no inspection command shows them."""

    amqp_cls = "tasks.messages:QuietAMQP"
    settings: Settings


def make_celery_app(settings: Settings) -> LatchkeyCelery:
    """Build the app for these settings; it opens no connection yet."""
    app = LatchkeyCelery(
        "latchkey",
        broker=settings.broker_url,
        include=["tasks.logins", "tasks.sessions", "tasks.keys", "tasks.backups", "tasks.retention", "tasks.webhooks"],
    )
    app.settings = settings
    app.config_from_object("celeryconfig")
    app.conf.update(
        broker_url=settings.broker_url,
        redbeat_redis_url=settings.redis_url,
        beat_schedule=beat_schedule(settings),
    )
    app.steps["worker"].update({Parts, DrainLogins, Operators})
    return app


def beat_schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """What beat sends, and how often. Each message expires before the next one is due."""
    return {
        "resume-orphaned-logins": _every(2.0, "latchkey.resume_orphaned_logins"),
        "log-out-auth-keys": _every(5.0, "latchkey.log_out_auth_keys"),
        "rotate-keys": _every(3600.0, "latchkey.rotate_keys"),
        "back-up-sessions": _every(settings.backup_interval_seconds, "latchkey.back_up_sessions"),
        "verify-backups": _every(6 * 3600.0, "latchkey.verify_backups"),
        "expire-backups": _every(24 * 3600.0, "latchkey.expire_backups"),
        "validate-sessions": _every(5.0, "latchkey.validate_sessions"),
        "log-out-sessions": _every(5.0, "latchkey.log_out_sessions"),
        "seal-audit": _every(60.0, "latchkey.seal_audit"),
        "sweep-webhooks": _every(1.0, "latchkey.sweep_webhooks"),
        "prune": _every(600.0, "latchkey.prune"),
        "retire-idle-sessions": _every(60.0, "latchkey.retire_idle_sessions"),
    }


def _every(seconds: float, task: str) -> dict[str, Any]:
    return {
        "task": task,
        "schedule": timedelta(seconds=seconds),
        "options": {"queue": "background", "expires": seconds * 0.9},
    }


@setup_logging.connect
def _configure_logs(**_: object) -> None:
    # Connecting to this signal keeps Celery from setting up logging of its own.
    settings = _settings
    configure_logs(level=settings.log_level, log_format=settings.log_format, process=_process_name())


def _process_name() -> str:
    roles = {"worker", "beat", "flower"}
    return os.environ.get("LATCHKEY_PROCESS") or next((word for word in sys.argv if word in roles), "celery")


def _load() -> Settings:
    try:
        return load_settings()
    except SettingsError as exc:
        sys.exit(f"latchkey: {exc}")


_settings = _load()
celery_app = make_celery_app(_settings)
