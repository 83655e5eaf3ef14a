"""Redis through Sentinels, as broker, for beat and for all other state: a failover under a stream of logins loses none."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

import pytest
import redis

from app.doctor.redis import look_at_redis
from devstack.ports import HOST, free_port
from devstack.programs import running
from devstack.running import RunningStack, running_stack
from tests.engines.conftest import UNLIMITED
from tests.engines.programs import redis_copy, sentinel
from tests.stack.city import City
from tests.waiting import wait_until

pytestmark = pytest.mark.engines


class Servers(NamedTuple):
    """Three Redis servers by their ports, and the ports of their Sentinels."""

    redis: dict[int, Popen[bytes]]
    sentinels: tuple[int, ...]

    @property
    def url(self) -> str:
        """As Latchkey's settings have it."""
        return f"sentinel://{','.join(f'{HOST}:{port}' for port in self.sentinels)}/0?master=latchkey"

    def master(self) -> int:
        """The port of the server that the first Sentinel calls master."""
        with redis.Redis(host=HOST, port=self.sentinels[0]) as client:
            _, port = client.sentinel_get_master_addr_by_name("latchkey")
            return int(port)

    def are_ready(self) -> bool:
        """Whether the Sentinels know each other and both replicas."""
        with redis.Redis(host=HOST, port=self.sentinels[0]) as client:
            told = client.sentinel_master("latchkey")
        return (told["num-slaves"], told["num-other-sentinels"]) == (2, 2)


@pytest.fixture(scope="module")
def servers(engine_folder: Path) -> Iterator[Servers]:
    """A master with two replicas, and three Sentinels."""
    ports, sentinels = [free_port() for _ in range(3)], tuple(free_port() for _ in range(3))
    with ExitStack() as stack:
        programs = [
            redis_copy(engine_folder / f"redis-{port}", port=port, of=None if port == ports[0] else ports[0])
            for port in ports
        ]
        found = {port: stack.enter_context(running(program)) for port, program in zip(ports, programs, strict=True)}
        for port in sentinels:
            stack.enter_context(running(sentinel(engine_folder / f"sentinel-{port}", port=port, master=ports[0])))
        servers = Servers(found, sentinels)
        wait_until(servers.are_ready, within_seconds=30, every_seconds=0.2)
        yield servers


@pytest.fixture(scope="module")
def stack(engine_folder: Path, servers: Servers) -> Iterator[RunningStack]:
    """The stack, whose processes know the Sentinels and no Redis."""
    settings = {**UNLIMITED, "STACK_REDIS_URL": servers.url}
    without = ("exporter", "s3", "flower")
    with running_stack(engine_folder / "stack", login_workers=2, settings=settings, without=without) as found:
        yield found


class Arrivals(threading.Thread):
    """People who arrive one after the other, and come again when they are refused."""

    def __init__(self, city: City, *, count: int, every_seconds: float) -> None:
        super().__init__(daemon=True)
        self._city = city
        self._count = count
        self._every_seconds = every_seconds
        self.taken: list[tuple[float, str]] = []
        self.refused: list[float] = []

    def run(self) -> None:
        """Arrive."""
        while len(self.taken) < self._count:
            answer = self._city.call("POST", "/v1/logins", json={})
            if answer.status_code == 202:
                self.taken.append((time.monotonic(), answer.json()["id"]))
            else:
                assert (answer.status_code, "Retry-After" in answer.headers) == (503, True), answer.text
                self.refused.append(time.monotonic())
            time.sleep(self._every_seconds)  # the next one comes

    def since(self, moment: float) -> float:
        """When the last one was refused, in seconds after a moment; 0: nobody was."""
        return max(self.refused, default=moment) - moment


def test_somebody_logs_in(city: City) -> None:
    """No process was told of a Redis."""
    started = city.start()
    account = city.telegram.create_account()
    city.telegram.scan(account["id"], city.wait_for_qr(started["id"]))
    city.wait_for(started["id"], "authorized")


def test_the_doctor_sees_each_sentinel(servers: Servers) -> None:
    """One that is away is named, though the others answer for it."""
    assert {each.state for each in look_at_redis("redis", servers.url)} == {"ok"}
    gone = f"sentinel://{HOST}:1,{servers.url.removeprefix('sentinel://')}"
    [warning] = [each for each in look_at_redis("redis", gone) if each.state != "ok"]
    assert f"{HOST}:1" in warning.found


@pytest.mark.timeout(180)
def test_a_failover_under_a_stream_of_logins_loses_none(
    city: City, servers: Servers, record_property: Callable[[str, object], None]
) -> None:
    """The master is killed: for seconds people are asked to come again, and whoever was let in is authorized."""
    arrivals = Arrivals(city, count=60, every_seconds=0.25)
    arrivals.start()
    wait_until(lambda: len(arrivals.taken) >= 15)
    before = servers.master()
    servers.redis[before].send_signal(signal.SIGKILL)
    killed_at = time.monotonic()
    wait_until(lambda: servers.master() != before, within_seconds=30, every_seconds=0.1)
    elected = time.monotonic() - killed_at
    arrivals.join(60)
    assert not arrivals.is_alive()
    login_ids = [login_id for _, login_id in arrivals.taken]
    wait_until(lambda: city.statuses(login_ids) == {"waiting_for_scan": 60}, within_seconds=60, every_seconds=0.1)
    shown = time.monotonic() - killed_at
    for login_id in login_ids:
        account = city.telegram.create_account()
        city.telegram.scan(account["id"], city.wait_for_qr(login_id))
    wait_until(lambda: city.statuses(login_ids) == {"authorized": 60}, within_seconds=60, every_seconds=0.1)
    assert city.new("authorized_keys") == 60
    assert city.violations() == {}
    figures = {"elected": elected, "refused_until": arrivals.since(killed_at), "all_shown": shown}
    for name, seconds in figures.items():
        record_property(name, round(seconds, 1))
    record_property("refused", len(arrivals.refused))
    assert arrivals.since(killed_at) < 15
