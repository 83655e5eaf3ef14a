"""PostgreSQL and Redis restarted or emptied with logins waiting: none is lost."""

from __future__ import annotations

import signal

import pytest

from tests.stack.city import City
from tests.waiting import wait_until

WAITING = 10


@pytest.fixture
def waiting(city: City) -> list[str]:
    """Some logins with a QR code on show."""
    login_ids = city.start_many(WAITING)
    # The Redis of the test before may have taken a message with it: then the sweep sends that login again.
    wait_until(lambda: city.statuses(login_ids) == {"waiting_for_scan": WAITING}, within_seconds=60, every_seconds=0.1)
    return login_ids


def scan_all(city: City, login_ids: list[str]) -> None:
    """Every one of them can be scanned, on the auth key that it had, and no rule was broken."""
    for login_id in login_ids:
        account = city.telegram.create_account()
        city.telegram.scan(account["id"], city.wait_for_qr(login_id, within_seconds=60))
    for login_id in login_ids:
        city.wait_for(login_id, "authorized", within_seconds=60)
    assert city.new("handshakes") == WAITING
    assert city.violations() == {}


def test_a_redis_that_is_flushed_loses_no_login(city: City, waiting: list[str]) -> None:
    """Locks, QR codes, the queue and beat's schedule are gone at once, and come back."""
    city.redis.flushall()
    scan_all(city, waiting)


def test_a_redis_that_is_restarted_loses_no_login(city: City, waiting: list[str]) -> None:
    """Killed, and started again by the supervisor."""
    pid = city.kill("redis", signal.SIGKILL)
    wait_until(lambda: city.pid("redis") != pid)
    scan_all(city, waiting)


def test_a_postgresql_that_is_restarted_loses_no_login(city: City, waiting: list[str]) -> None:
    """Fast shutdown, and started again by the supervisor: what could not be written is written later."""
    pid = city.kill("postgres", signal.SIGINT)
    wait_until(lambda: city.pid("postgres") != pid, within_seconds=30)
    scan_all(city, waiting)


def test_a_web_that_is_restarted_serves_the_same_logins(city: City, waiting: list[str]) -> None:
    """Nothing of a login lives in the web process."""
    pid = city.kill("web", signal.SIGTERM)
    wait_until(lambda: city.pid("web") != pid, within_seconds=30)
    wait_until(city.answers, within_seconds=30)
    scan_all(city, waiting)
