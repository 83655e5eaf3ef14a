"""Workers come and go; the person in front of the QR code notices at most a new image."""

from __future__ import annotations

import signal
import time

import pytest

from tests.stack.city import City
from tests.waiting import wait_until

MANY = 100


@pytest.fixture
def waiting(city: City) -> list[str]:
    """Many logins with a QR code on show."""
    login_ids = city.start_many(MANY)
    wait_until(lambda: city.statuses(login_ids) == {"waiting_for_scan": MANY}, within_seconds=60, every_seconds=0.2)
    return login_ids


def of_worker(city: City, login_ids: list[str], name: str) -> list[str]:
    """Which of the logins a worker drives."""
    return [
        login_id
        for login_id, row in city.rows(login_ids).items()
        if row["owner"] and row["owner"].startswith(f"{name}@")
    ]


def scan_and_finish(city: City, login_ids: list[str]) -> None:
    """Scan some, and cancel the rest."""
    for login_id in login_ids[:3]:
        account = city.telegram.create_account()
        city.telegram.scan(account["id"], city.wait_for_qr(login_id))
        city.wait_for(login_id, "authorized")
    for login_id in login_ids[3:]:
        city.call("DELETE", f"/v1/logins/{login_id}")


@pytest.mark.parametrize(
    ("how", "gone_within_seconds", "resumed_within_seconds"),
    [(signal.SIGTERM, 10, 15), (signal.SIGKILL, 2, 20)],
    ids=["SIGTERM", "SIGKILL"],
)
def test_logins_go_on_elsewhere_when_their_worker_goes(
    city: City, waiting: list[str], how: signal.Signals, gone_within_seconds: float, resumed_within_seconds: float
) -> None:
    """Asked to end, a worker hands its logins over; killed, its logins are found without a heartbeat. The keys stay."""
    mine = of_worker(city, waiting, "worker-logins-1")
    assert mine
    keys = {login_id: row["auth_key_sealed"] for login_id, row in city.rows(mine).items()}
    epochs = {login_id: row["owner_epoch"] for login_id, row in city.rows(mine).items()}
    handshakes = city.telegram.stats()["handshakes"]
    killed_at = time.monotonic()
    pid = city.kill("worker-logins-1", how)
    wait_until(lambda: city.gone(pid), within_seconds=gone_within_seconds)
    wait_until(
        lambda: all(row["owner"] and row["owner_epoch"] > epochs[each] for each, row in city.rows(mine).items()),
        within_seconds=resumed_within_seconds - (time.monotonic() - killed_at),
        every_seconds=0.2,
    )
    assert {login_id: row["auth_key_sealed"] for login_id, row in city.rows(mine).items()} == keys
    assert city.telegram.stats()["handshakes"] == handshakes
    assert city.statuses(waiting) == {"waiting_for_scan": MANY}
    scan_and_finish(city, mine)
    for login_id in set(waiting) - set(mine):
        city.call("DELETE", f"/v1/logins/{login_id}")
    assert city.violations() == {}


def test_a_scan_while_no_worker_runs_completes_when_one_does(city: City) -> None:
    """Both workers are stopped, the phone scans, they go on: the same login, authorized."""
    started = city.start()
    account = city.telegram.create_account(accept="at_once")
    url = city.wait_for_qr(started["id"])
    pids = [city.kill(f"worker-logins-{number}", signal.SIGKILL) for number in (1, 2)]
    wait_until(lambda: all(map(city.gone, pids)))
    city.telegram.scan(account["id"], url)
    city.wait_for(started["id"], "authorized", within_seconds=40)


def test_a_paused_worker_that_wakes_up_sends_and_writes_nothing(city: City) -> None:
    """SIGSTOP the owner, let another take over, wake it: the epoch and the lock fence it off."""
    started = city.start()
    first_url = city.wait_for_qr(started["id"])
    row = city.rows([started["id"]])[started["id"]]
    owner = row["owner"].partition("@")[0]
    other = {"worker-logins-1": "worker-logins-2", "worker-logins-2": "worker-logins-1"}[owner]
    pid = city.kill(owner, signal.SIGSTOP)
    try:
        wait_until(
            lambda: city.rows([started["id"]])[started["id"]]["owner"].startswith(f"{other}@"), within_seconds=30
        )
        city.wait_for_qr(started["id"], other_than=None)
    finally:
        city.kill(owner, signal.SIGCONT)
    taken = city.rows([started["id"]])[started["id"]]
    account = city.telegram.create_account()
    wait_until(lambda: "login.ownership_lost" in city.stack.log(owner), within_seconds=15)
    city.telegram.scan(account["id"], city.wait_for_qr(started["id"]))
    city.wait_for(started["id"], "authorized")
    assert city.rows([started["id"]])[started["id"]]["owner_epoch"] == taken["owner_epoch"]
    assert city.violations() == {}
    assert not city.gone(pid)
    assert first_url
