"""Flood waits and pacing in logins: never earlier than Telegram said, and nobody holds a thread meanwhile."""

from __future__ import annotations

import random

import pytest

from tests.logins.stage import Stage
from tests.waiting import wait_until


def test_a_short_flood_wait_puts_the_login_off(stage: Stage) -> None:
    """The thread is freed, retry_after is shown, and the login goes on by itself."""
    stage.telegram.add_fault(method="auth.exportLoginToken", error="FLOOD_WAIT_2", times=1)
    started = stage.start()
    login = stage.wait_for(started.login.id, "queued", when=lambda each: each.retry_after)
    assert login.retry_after is not None
    assert 1 <= login.retry_after <= 3
    wait_until(lambda: [each.name for each in stage.outcomes] == ["put_off"])
    assert 2.1 <= stage.outcomes[0].retry_seconds <= 2.3
    assert stage.new("connections") <= 0
    stage.wait_for_qr(started.login.id)
    assert stage.login(started.login.id).retry_after is None
    assert stage.violations() == {}


def test_a_long_flood_wait_fails_the_login_at_once(stage: Stage) -> None:
    """Over 60 s nobody is kept waiting: flood_wait, with retry_after."""
    stage.telegram.add_fault(method="auth.exportLoginToken", error="FLOOD_WAIT_61", times=1)
    login = stage.wait_for(stage.start().login.id, "failed")
    assert login.reason == "flood_wait"
    assert login.retry_after is not None
    assert 55 < login.retry_after <= 61


def test_a_flood_wait_that_the_login_would_not_outlive_fails_it(short_lives: Stage) -> None:
    """A wait of 30 s is no use to a login that lives for 20."""
    stage = short_lives
    stage.telegram.add_fault(method="auth.exportLoginToken", error="FLOOD_WAIT_30", times=1)
    assert stage.wait_for(stage.start().login.id, "failed").reason == "flood_wait"


def test_one_logins_flood_wait_closes_the_gate_for_every_worker(stage: Stage) -> None:
    """The second login does not even ask, on another worker too."""
    stage.telegram.add_fault(method="auth.exportLoginToken", error="FLOOD_WAIT_3", times=1)
    first = stage.start()
    wait_until(lambda: stage.outcomes)
    stage.add_worker()
    stage.run_dispatched = False
    second = stage.start()
    stage.run(second.login.id, worker=1)
    wait_until(lambda: len(stage.outcomes) == 2)
    assert [each.name for each in stage.outcomes] == ["put_off", "put_off"]
    assert stage.calls("auth.exportLoginToken") == 1
    stage.wait_for_qr(first.login.id)
    stage.wait_for_qr(second.login.id)
    assert stage.violations() == {}


@pytest.mark.timeout(180)
def test_a_storm_of_200_logins_breaks_no_rule(make_stage: object) -> None:
    """Flood waits injected at random into 200 logins on two workers, a fifth of them scanned: 0 early calls, 0 unpaced."""
    stage: Stage = make_stage(qr_poll_seconds=2.0)  # type: ignore[operator]
    stage.add_worker()
    pick = random.Random(7)
    accounts = [stage.telegram.create_account() for _ in range(40)]
    stage.run_dispatched = False
    login_ids = [stage.start().login.id for _ in range(200)]
    for number, login_id in enumerate(login_ids):
        if number % 10 == 0:
            method = pick.choice(["auth.exportLoginToken", "auth.exportLoginToken", "users.getUsers"])
            stage.telegram.add_fault(method=method, error=f"FLOOD_WAIT_{pick.randint(1, 4)}", times=1)
        stage.run(login_id, worker=number % 2)
    for account, login_id in zip(accounts, login_ids, strict=False):
        stage.telegram.scan(account["id"], stage.wait_for_qr(login_id, within_seconds=90))
    for login_id in login_ids[:40]:
        stage.wait_for(login_id, "authorized", within_seconds=90)
    for login_id in login_ids[40:]:
        stage.wait_for(login_id, "waiting_for_scan", within_seconds=90)
    assert stage.violations() == {}
    assert len(stage.sessions()) == 40
