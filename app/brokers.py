"""How Celery reaches its broker: Redis, a Redis that Sentinels know, or RabbitMQ. Knows no task.

The guarantee is the same with each: the committed row, the lock and the sweep. Only with RabbitMQ are messages acknowledged
late. Celery always prefetches there; acknowledged late, a worker takes no more messages than it has threads, and RabbitMQ
gives those of a dead worker to another.
"""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from amqp.exceptions import AMQPError
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

import celeryconfig
from app.redis_servers import asking, sentinels_of

BROKER_ERRORS = (KombuError, RedisError, AMQPError, OSError)
"""What tells that a broker is away, whichever it is."""

_RABBITMQ_OPTIONS = {
    "confirm_publish": True,  # sent means: it has it
    "read_timeout": 30,
    "write_timeout": 10,
}


def broker_settings(broker_url: str) -> dict[str, Any]:
    """Celery's settings for a broker, on top of ``celeryconfig``."""
    settings = _settings(broker_url)
    # Celery reads CELERY_BROKER_URL itself, as it stands, and would take it for ``broker_url`` whatever we set.
    return settings | dict.fromkeys(("broker_read_url", "broker_write_url"), settings["broker_url"])


def _settings(broker_url: str) -> dict[str, Any]:
    if is_rabbitmq(broker_url):
        return _rabbitmq(broker_url)
    sentinels = sentinels_of(broker_url)
    if sentinels is None:
        return {"broker_url": broker_url}
    credentials = f"{quote(sentinels.username or '', safe='')}:{quote(sentinels.password or '', safe='')}@"
    urls = (f"sentinel://{credentials}{_host(host)}:{port}/{sentinels.database}" for host, port in sentinels.addresses)
    return {
        "broker_url": ";".join(urls),
        "broker_transport_options": {
            **celeryconfig.broker_transport_options,
            "master_name": sentinels.master,
            "sentinel_kwargs": asking(),
        },
    }


def schedule_settings(redis_url: str) -> dict[str, Any]:
    """Celery's settings for where beat keeps its schedule and its lock."""
    sentinels = sentinels_of(redis_url)
    if sentinels is None:
        return {"redbeat_redis_url": redis_url, "redbeat_redis_options": {"socket_timeout": 5}}
    options: dict[str, Any] = {
        "sentinels": sentinels.addresses,
        "service_name": sentinels.master,
        "db": sentinels.database,
        "password": sentinels.password,
        "socket_timeout": 5,
    }
    if sentinels.username is not None:
        options["username"] = sentinels.username
    return {"redbeat_redis_url": "redis-sentinel://", "redbeat_redis_options": options}


def is_rabbitmq(broker_url: str) -> bool:
    """Whether a broker speaks AMQP."""
    return urlsplit(broker_url).scheme in ("amqp", "amqps")


def _rabbitmq(broker_url: str) -> dict[str, Any]:
    parts = urlsplit(broker_url)
    settings: dict[str, Any] = {
        "broker_url": urlunsplit(parts._replace(scheme="amqp", query="")),
        "broker_transport_options": _RABBITMQ_OPTIONS,
        "task_acks_late": True,
        "worker_disable_prefetch": False,
        # After a lost connection Celery would raise the prefetch count step by step, by calls that wait in a task's thread for
        # the broker's answer. The loop takes that answer away, and then waits for the thread: the worker stands still.
        "worker_enable_prefetch_count_reduction": False,
    }
    if parts.scheme == "amqps":
        given = dict(parse_qsl(parts.query)).get("cacertfile")
        settings["broker_use_ssl"] = {
            "ca_certs": given or ssl.get_default_verify_paths().cafile,
            "cert_reqs": ssl.CERT_REQUIRED,
            "server_hostname": parts.hostname,
        }
    return settings


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
