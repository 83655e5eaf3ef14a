"""Valkey where Redis would be: for Celery's messages and for all state of a login."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from celery import Celery

from app.brokers import broker_settings
from app.doctor.redis import look_at_redis
from devstack.ports import free_port
from devstack.programs import running
from devstack.redis import redis_program
from devstack.redis import redis_url as make_redis_url
from sandbox.process import RunningSandbox
from tests.builders import make_settings
from tests.engines.programs import valkey_binary
from tests.logins.stage import Stage


@pytest.fixture(scope="module")
def valkey_url(engine_folder: Path) -> Iterator[str]:
    """A Valkey server."""
    port = free_port()
    program = redis_program(engine_folder / "valkey", port=port, log=engine_folder / "valkey.log")
    with running(replace(program, command=(str(valkey_binary()), *program.command[1:]))):
        yield make_redis_url(port)


def test_it_is_valkey_and_the_doctor_is_content(valkey_url: str) -> None:
    """Everything that Latchkey does with Redis, it lets us do."""
    with redis.Redis.from_url(valkey_url) as client:
        assert client.info("server")["server_name"] == "valkey"
    assert {each.state for each in look_at_redis("redis", valkey_url)} == {"ok"}


def test_somebody_logs_in(
    valkey_url: str, database_url: str, tmp_path: Path, sandboxes: Callable[..., RunningSandbox]
) -> None:
    """Locks, QR codes, passwords and hints are in Valkey; a password shows that an answer reaches its worker."""
    running_sandbox = sandboxes()
    settings = make_settings(
        database_url=database_url,
        redis_url=valkey_url,
        key_file=tmp_path / "key",
        telegram_dc_address=f"2:127.0.0.1:{running_sandbox.dcs[2]}",
        telegram_public_key_file=running_sandbox.public_key_file,
    )
    with Stage(settings, running_sandbox.driver) as stage:
        started = stage.start()
        shown = stage.wait_for(started.login.id, "waiting_for_scan")
        assert shown.qr is not None
        account = stage.telegram.create_account()
        stage.telegram.scan(account["id"], shown.qr.url)
        assert stage.wait_for(started.login.id, "authorized").session_id


def test_messages_travel(valkey_url: str) -> None:
    """Sent by Celery, and taken as a worker takes them."""
    app = Celery(set_as_current=False)
    app.config_from_object("celeryconfig")
    app.conf.update(broker_settings(valkey_url))
    sent = app.send_task("latchkey.run_qr_login", args=("lgn_x",))
    with app.connection_for_read() as connection, connection.SimpleQueue("logins") as queue:
        message = queue.get(timeout=10)
        message.ack()
    assert message.headers["id"] == sent.id
