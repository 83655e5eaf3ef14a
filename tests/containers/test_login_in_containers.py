"""The image, built for real: somebody logs in through worker containers."""

from __future__ import annotations

import pytest
from pytest_celery import CeleryTestSetup

from app.core import Core
from app.logins.service import Reader, read_login
from app.logins.serving import NewLogin
from app.logins.start import start_login
from app.logins.view import LoginView
from sandbox.process import RunningSandbox
from tests.containers.workers import BackgroundWorkerContainer, LoginWorkerContainer
from tests.waiting import wait_until

_ALICE = Reader(tenant_id="alice")


def _wait_for(web: Core, login_id: str, status: str) -> LoginView:
    seen: list[LoginView] = []

    def look() -> bool:
        seen[:] = [read_login(web, login_id=login_id, reader=_ALICE)]
        return seen[0].status == status

    wait_until(look, within_seconds=60, every_seconds=0.2)
    return seen[0]


@pytest.mark.docker
@pytest.mark.timeout(900)  # the image is built the first time
def test_somebody_logs_in_through_worker_containers(
    celery_setup: CeleryTestSetup, web: Core, telegram: RunningSandbox
) -> None:
    """A login that this process starts is driven by a container: its QR code is scanned, and it becomes a session."""
    assert celery_setup.ready(ping=False, control=True)
    started = start_login(web, tenant_id="alice", request=NewLogin())
    shown = _wait_for(web, started.login.id, "waiting_for_scan")
    assert shown.qr is not None
    account = telegram.driver.create_account()
    telegram.driver.scan(account["id"], shown.qr.url)
    ended = _wait_for(web, started.login.id, "authorized")
    assert ended.session_id
    assert telegram.driver.stats()["violations"] == {"flood_wait": 0, "parallel_auth_key": 0, "unpaced": 0}


@pytest.mark.docker
@pytest.mark.timeout(900)
def test_a_login_survives_the_death_of_its_worker_container(
    celery_setup: CeleryTestSetup, web: Core, telegram: RunningSandbox
) -> None:
    """Killed, and scanned meanwhile: the sweep finds the login, on the auth key that it had."""
    started = start_login(web, tenant_id="alice", request=NewLogin())
    shown = _wait_for(web, started.login.id, "waiting_for_scan")
    assert shown.qr is not None
    handshakes = telegram.driver.stats()["handshakes"]
    workers = celery_setup.worker_cluster
    assert workers is not None
    [worker] = [each for each in workers if isinstance(each.container, LoginWorkerContainer)]
    worker.kill()
    account = telegram.driver.create_account(accept="at_once")
    telegram.driver.scan(account["id"], shown.qr.url)
    worker.restart()

    def swept() -> bool:
        web.dispatch("latchkey.resume_orphaned_logins")  # there is no beat here
        return read_login(web, login_id=started.login.id, reader=_ALICE).status == "authorized"

    wait_until(swept, within_seconds=60, every_seconds=1.0)
    assert telegram.driver.stats()["handshakes"] == handshakes


def test_the_worker_containers_are_started_as_docker_compose_starts_them() -> None:
    """The same command but for the number of threads; every setting is the image's own kind, and Redis serves for all."""
    cluster = {"celery_broker_cluster_config": {"urls": ["redis://broker/0"], "host_urls": []}}
    for kind, queue in ((LoginWorkerContainer, "logins"), (BackgroundWorkerContainer, "background,webhooks")):
        command = kind.command()
        assert command[: command.index("-Q") + 2] == ["celery", "-A", "tasks", "worker", "-Q", queue]
        assert kind.initial_env(cluster, initial={"X": "y"}) | {"X": "y", "REDIS_URL": "redis://broker/0"} == (
            kind.initial_env(cluster, initial={"X": "y"})
        )
