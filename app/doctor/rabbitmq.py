"""RabbitMQ, when it is Celery's broker: does it answer, does it take and give messages, who can read along."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import uuid4

from kombu import Connection, Producer, Queue

from app.brokers import BROKER_ERRORS, broker_settings
from app.doctor.finding import LOOK_SECONDS, Finding, is_this_machine, reason

_NAME = "broker"


def look_at_rabbitmq(url: str) -> Iterator[Finding]:
    """Ask for its version; then do a little of what Latchkey does, in a queue that nobody uses and that goes at once."""
    settings = broker_settings(url)
    connection = Connection(
        settings["broker_url"],
        ssl=settings.get("broker_use_ssl", False),
        connect_timeout=LOOK_SECONDS,
        transport_options={"read_timeout": LOOK_SECONDS, "write_timeout": LOOK_SECONDS, "confirm_publish": True},
    )
    try:
        connection.connect()
        told = connection.connection.server_properties
        yield Finding(_NAME, "ok", f"{told.get('product', 'AMQP')} {told.get('version', '')}".strip())
        yield from _rights(connection)
    except BROKER_ERRORS as exc:
        yield Finding(_NAME, "failed", reason(exc), "start RabbitMQ, or mend CELERY_BROKER_URL")
        return
    finally:
        connection.release()
    yield from _tls(url)


def _rights(connection: Connection) -> Iterator[Finding]:
    channel = connection.default_channel
    queue = Queue(f"latchkey.doctor.{uuid4().hex}", exclusive=True, durable=False, channel=channel)
    try:
        queue.declare()
        Producer(channel).publish("x", routing_key=queue.name)
        message = queue.get(no_ack=True)
        queue.delete()
    except BROKER_ERRORS as exc:
        advice = "give its user all three rights: rabbitmqctl set_permissions -p VHOST USER '.*' '.*' '.*'"
        yield Finding(_NAME, "failed", f"no message went through it: {reason(exc)}", advice)
        return
    if message is None:
        yield Finding(
            _NAME, "failed", "a message that was sent did not arrive", "look at RabbitMQ's log and its alarms"
        )


def _tls(url: str) -> Iterator[Finding]:
    parts = urlsplit(url)
    if parts.scheme == "amqp" and not is_this_machine(parts.hostname):
        found = f"no TLS to {parts.hostname}: its password travels in the open"
        yield Finding(_NAME, "warning", found, "begin CELERY_BROKER_URL with amqps://, and give RabbitMQ a certificate")
