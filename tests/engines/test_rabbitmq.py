"""RabbitMQ as Celery's broker, Redis for the rest: people log in, and no death costs a login."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.doctor.rabbitmq import look_at_rabbitmq
from devstack.ports import HOST, free_port
from devstack.programs import Program, running
from devstack.running import RunningStack, running_stack
from tests.engines.certificates import Authority
from tests.engines.conftest import UNLIMITED
from tests.engines.programs import PASSWORD, RestartedProgram, erlang_port_mapper, rabbitmq
from tests.stack.city import City
from tests.waiting import wait_until

pytestmark = pytest.mark.engines
MANY = 20


@pytest.fixture(scope="module")
def server(engine_folder: Path) -> Iterator[tuple[Program, str]]:
    """RabbitMQ with TLS as a program that has not been started, and its URL; its port mapper runs."""
    port, tls_port, epmd_port = free_port(), free_port(), free_port()
    authority = Authority(engine_folder / "certificates")
    certificate, key = authority.sign("rabbitmq")
    options = {
        "listeners.ssl.1": f"{HOST}:{tls_port}",
        "ssl_options.cacertfile": str(authority.certificate),
        "ssl_options.certfile": str(certificate),
        "ssl_options.keyfile": str(key),
    }
    program = rabbitmq(engine_folder / "rabbitmq", port=port, epmd_port=epmd_port, options=options)
    with running(erlang_port_mapper(engine_folder / "rabbitmq", port=epmd_port)):
        yield program, f"amqps://latchkey:{PASSWORD}@{HOST}:{tls_port}//?cacertfile={authority.certificate}"


@pytest.fixture(scope="module")
def rabbit(server: tuple[Program, str]) -> Iterator[RestartedProgram]:
    """RabbitMQ, running."""
    with RestartedProgram(server[0]) as program:
        yield program


@pytest.fixture(scope="module")
def stack(engine_folder: Path, server: tuple[Program, str], rabbit: RestartedProgram) -> Iterator[RunningStack]:
    """The stack with RabbitMQ as its broker."""
    settings = {**UNLIMITED, "STACK_BROKER_URL": server[1]}
    without = ("exporter", "s3", "flower")
    with running_stack(engine_folder / "stack", login_workers=2, settings=settings, without=without) as found:
        yield found


def scan(city: City, login_id: str) -> None:
    """Scan a login."""
    account = city.telegram.create_account()
    city.telegram.scan(account["id"], city.wait_for_qr(login_id))


def test_somebody_logs_in(city: City) -> None:
    """HTTP, RabbitMQ, worker, Telegram, session."""
    started = city.start()
    scan(city, started["id"])
    assert city.wait_for(started["id"], "authorized")["session_id"]
    assert city.violations() == {}


def test_a_password_travels_as_ever(city: City) -> None:
    """What goes through Redis and not through the broker is where it was."""
    started = city.start()
    account = city.telegram.create_account(password="correct horse", hint="battery")
    city.telegram.scan(account["id"], city.wait_for_qr(started["id"]))
    city.wait_for(started["id"], "password_required")
    city.call("POST", f"/v1/logins/{started['id']}/password", json={"password": "correct horse"})
    city.wait_for(started["id"], "authorized")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_the_death_of_a_worker_costs_no_login(city: City, how: signal.Signals) -> None:
    """Handed over, or given to the other worker by RabbitMQ and the sweep: every login goes on, with the key that it had."""
    login_ids = city.start_many(MANY)
    wait_until(lambda: city.statuses(login_ids) == {"waiting_for_scan": MANY}, within_seconds=60, every_seconds=0.2)
    handshakes = city.telegram.stats()["handshakes"]
    owners = {each: row["owner"].partition("@")[0] for each, row in city.rows(login_ids).items()}
    busiest, _ = Counter(owners.values()).most_common(1)[0]  # one that has just been started may have none
    mine = [login_id for login_id, owner in owners.items() if owner == busiest]
    pid = city.kill(busiest, how)
    wait_until(lambda: city.gone(pid), within_seconds=10)
    for login_id in mine:
        scan(city, login_id)
    for login_id in mine:
        city.wait_for(login_id, "authorized", within_seconds=60)
    assert city.telegram.stats()["handshakes"] == handshakes
    for login_id in set(login_ids) - set(mine):
        city.call("DELETE", f"/v1/logins/{login_id}")
    assert city.violations() == {}


def test_logins_that_start_while_the_broker_restarts_are_all_authorized(city: City, rabbit: RestartedProgram) -> None:
    """The row is committed, the message is a hint: what could not be sent is sent by the sweep."""
    login_ids = city.start_many(3)
    rabbit.stop()
    login_ids += city.start_many(3)
    rabbit.start()
    login_ids += city.start_many(3)
    for login_id in login_ids:
        account = city.telegram.create_account()
        city.telegram.scan(account["id"], city.wait_for_qr(login_id, within_seconds=60))
    for login_id in login_ids:
        city.wait_for(login_id, "authorized")
    assert city.violations() == {}


def test_the_doctor_sees_it(stack: RunningStack, server: tuple[Program, str], tmp_path: Path) -> None:
    """Its version, and that messages go through; what is wrong, with what to do: the password, the certificate."""
    _, url = server
    [found] = look_at_rabbitmq(url)
    assert (found.state, found.found.split()[0]) == ("ok", "RabbitMQ"), found
    stranger = Authority(tmp_path, name="a stranger").certificate
    for wrong in (url.replace(PASSWORD, "guessed"), f"{url.partition('=')[0]}={stranger}"):
        [refused] = look_at_rabbitmq(wrong)
        assert (refused.state, "CELERY_BROKER_URL" in refused.advice) == ("failed", True)
        assert "guessed" not in refused.found
