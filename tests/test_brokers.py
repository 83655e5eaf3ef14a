"""Celery's settings for each broker."""

from __future__ import annotations

import ssl

import pytest
from celery import Celery

import celeryconfig
from app.brokers import broker_settings, schedule_settings


def settings_of(url: str) -> Celery:
    """An app as the workers have it, for a broker."""
    app = Celery(set_as_current=False)
    app.config_from_object("celeryconfig")
    app.conf.update(broker_settings(url))
    return app


def test_redis_has_what_celeryconfig_says() -> None:
    """Nothing changes for who has no other broker: messages are acknowledged early, and not prefetched."""
    conf = settings_of("redis://127.0.0.1/0").conf
    assert (conf.task_acks_late, conf.worker_disable_prefetch) == (False, True)
    assert conf.broker_transport_options == celeryconfig.broker_transport_options


def test_rabbitmq_is_acknowledged_late() -> None:
    """So that a busy worker holds no messages that others could take; and nothing of Redis' is said to it."""
    conf = settings_of("amqp://u:p@127.0.0.1:5672/latchkey").conf
    assert (conf.task_acks_late, conf.worker_disable_prefetch) == (True, False)
    assert conf.worker_enable_prefetch_count_reduction is False
    assert "visibility_timeout" not in conf.broker_transport_options


def test_rabbitmqs_certificate_is_always_checked() -> None:
    """By the authority that is named, or the system's."""
    found = broker_settings("amqps://u:p@rabbit:5671//")
    assert found["broker_use_ssl"]["cert_reqs"] == ssl.CERT_REQUIRED
    assert found["broker_use_ssl"]["server_hostname"] == "rabbit"
    assert found["broker_write_url"] == "amqp://u:p@rabbit:5671//"


def test_celerys_own_reading_of_the_environment_does_not_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery takes CELERY_BROKER_URL as it stands; with Sentinels that is no URL of its own."""
    url = "sentinel://u:p%40@one:1,two:2/3?master=m"
    monkeypatch.setenv("CELERY_BROKER_URL", url)
    app = settings_of(url)
    for connection in (app.connection_for_read(), app.connection_for_write()):
        assert connection.alt == ["sentinel://u:p%40@one:1/3", "sentinel://u:p%40@two:2/3"]
        assert connection.transport_options
        assert connection.transport_options["master_name"] == "m"


def test_beat_asks_the_sentinels_too() -> None:
    """Its schedule and its lock go where the master goes."""
    options = schedule_settings("sentinel://:pw@one:1,two:2/3?master=m")["redbeat_redis_options"]
    assert (options["sentinels"], options["service_name"]) == ((("one", 1), ("two", 2)), "m")
    assert (options["db"], options["password"]) == (3, "pw")
