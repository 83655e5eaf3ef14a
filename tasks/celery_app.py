"""The Celery app, its beat schedule, and what a worker process builds when it starts and ends when it stops.

``celery -A tasks worker -Q logins -P threads -c 1000`` drives logins,
``… -Q background,webhooks -P threads -c 12`` does the rest.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from itertools import pairwise
from typing import Any

from celery import Celery
from celery.signals import setup_logging

from app.brokers import broker_settings, schedule_settings
from app.errors import SettingsError
from app.logs import configure_logs
from app.settings import QueueSettings, Settings, load_some_settings
from tasks.beat import install_beat
from tasks.bootsteps import DrainLogins, MetricsServer, Parts
from tasks.correlation import correlate_tasks


class LatchkeyCelery(Celery):
    """Celery's app with our settings beside its own, where no inspection command shows them."""

    amqp_cls = "tasks.messages:QuietAMQP"
    settings: QueueSettings
    """All of ``Settings`` in a worker, and no more than these in beat and Flower."""


def make_celery_app(settings: QueueSettings) -> LatchkeyCelery:
    """Build the app for these settings; it opens no connection yet."""
    broker = broker_settings(settings.broker_url)
    app = LatchkeyCelery(
        "latchkey",
        broker=broker["broker_url"],
        include=["tasks.logins", "tasks.sessions", "tasks.keys", "tasks.backups", "tasks.retention", "tasks.webhooks"],
    )
    app.settings = settings
    app.config_from_object("celeryconfig")
    app.conf.update(
        beat_schedule=beat_schedule(settings),
        **broker,
        **schedule_settings(settings.redis_url),
    )
    app.steps["worker"].update({Parts, DrainLogins, MetricsServer})
    return app


def beat_schedule(settings: QueueSettings) -> dict[str, dict[str, Any]]:
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
        "purge-tenants": _every(10.0, "latchkey.purge_tenants"),
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
    configure_logs(level=settings.log_level, log_format=settings.log_format, process=_process())


def _process() -> str:
    """What the lines of this process call it: a worker by the name that it was given, ``logins`` of ``-n logins@%h``."""
    named = (value for option, value in pairwise(sys.argv) if option in {"-n", "--hostname"})
    return next(named, _role()).partition("@")[0]


def _role() -> str:
    """What this process was started as: ``worker``, ``beat``, ``flower``, or another of Celery's commands."""
    return next((word for word in sys.argv if word in {"worker", "beat", "flower"}), "celery")


def _load() -> QueueSettings:
    try:
        return load_some_settings(Settings if _role() not in {"beat", "flower"} else QueueSettings)
    except SettingsError as exc:
        sys.exit(f"latchkey: {exc}")


_settings = _load()
celery_app = make_celery_app(_settings)
correlate_tasks()
install_beat(_settings, lock_key=f"{celery_app.conf.redbeat_key_prefix}:lock")
