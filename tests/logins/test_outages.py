"""Telegram, Redis or PostgreSQL away for a while: the login goes on when it is back, cheaply, and nothing hangs."""

from __future__ import annotations

import os
import time
from datetime import timedelta

import pytest

from app.clock import utc_now
from app.logins.owned import END_EARLY_SECONDS
from tests.logins.stage import Stage
from tests.waiting import wait_until

OUTAGE_SECONDS = 6.0


def cpu_seconds() -> float:
    """What this process, the worker's, has used."""
    times = os.times()
    return times.user + times.system


@pytest.mark.parametrize("mode", ["refuse", "accept_and_close", "silent"])
def test_telegram_away_is_waited_for_cheaply(make_stage: object, mode: str) -> None:
    """Unreachable, accepting and closing, or silent: no busy loop, and the same key goes on afterwards."""
    stage: Stage = make_stage(qr_poll_seconds=1.0)  # type: ignore[operator]
    account = stage.telegram.create_account()
    started = stage.start()
    stage.wait_for_qr(started.login.id)
    stage.telegram.network(mode, cut_all=True)
    before, began = cpu_seconds(), time.monotonic()
    while time.monotonic() - began < OUTAGE_SECONDS:
        assert stage.login(started.login.id).status == "waiting_for_scan"
        time.sleep(0.5)  # the outage lasts; looking once in a while
    share = (cpu_seconds() - before) / (time.monotonic() - began)
    assert share < 0.2
    stage.telegram.network("ok")
    wait_until(lambda: stage.new("connections") >= 1, within_seconds=25)
    stage.telegram.scan(account["id"], stage.wait_for_qr(started.login.id, within_seconds=40))
    stage.wait_for(started.login.id, "authorized", within_seconds=40)
    assert stage.new("handshakes") == 1
    assert stage.violations() == {}


def test_a_login_that_begins_while_telegram_is_away_begins_when_it_is_back(stage: Stage) -> None:
    """It stays queued, and nobody has to ask again."""
    stage.telegram.network("refuse")
    started = stage.start()
    wait_until(lambda: stage.new("handshakes") == 0 and stage.sent, within_seconds=5)
    stage.telegram.network("ok")
    stage.wait_for_qr(started.login.id, within_seconds=20)


def test_a_login_that_never_reached_telegram_says_so(short_lives: Stage) -> None:
    """telegram_unavailable rather than expired: nobody ever saw a QR code."""
    stage = short_lives
    stage.telegram.network("refuse")
    started = stage.start()
    login = stage.wait_for(started.login.id, "failed", within_seconds=30)
    assert login.reason == "telegram_unavailable"


@pytest.mark.parametrize("effect", [{"silent": True}, {"drop_connection": True}, {"error": "RPC_CALL_FAIL"}])
def test_one_call_that_goes_wrong_costs_no_login(stage: Stage, effect: dict[str, object]) -> None:
    """An answer that never comes, a cut in the middle, Telegram's own trouble: the call is made again."""
    account = stage.telegram.create_account()
    stage.telegram.add_fault(method="auth.exportLoginToken", times=1, **effect)
    started = stage.start()
    stage.telegram.scan(account["id"], stage.wait_for_qr(started.login.id, within_seconds=30))
    stage.wait_for(started.login.id, "authorized")


def test_a_flushed_redis_loses_no_login(stage: Stage) -> None:
    """Locks, the QR code and limits are hot state: the worker puts them back, and the row has the rest."""
    account = stage.telegram.create_account()
    started = stage.start()
    url = stage.wait_for_qr(started.login.id)
    stage.core.redis.flushdb()
    stage.telegram.scan(account["id"], url)
    stage.wait_for(started.login.id, "authorized")
    assert stage.new("handshakes") == 1


def test_a_qr_code_that_redis_forgot_is_shown_again_within_seconds(stage: Stage) -> None:
    """Not only when its token expires: the next renewal of the lock notices."""
    started = stage.start()
    url = stage.wait_for_qr(started.login.id)
    stage.core.redis.flushdb()
    assert stage.login(started.login.id).qr is None
    assert stage.wait_for_qr(started.login.id, within_seconds=8) == url


def test_a_scan_counts_that_comes_while_redis_is_away_at_the_end(short_lives: Stage) -> None:
    """Redis cannot be asked from the scan until waiting is over: Telegram is asked once more in the seconds that are left."""
    stage = short_lives
    account = stage.telegram.create_account(accept="at_once")
    started = stage.start()
    url = stage.wait_for_qr(started.login.id)
    ends_at = started.login.expires_at - timedelta(seconds=END_EARLY_SECONDS)
    wait_until(lambda: utc_now() > ends_at - timedelta(seconds=1.5), within_seconds=60)
    stage.core.redis.client_pause(6500)
    stage.telegram.scan(account["id"], url)
    stage.wait_for(started.login.id, "authorized", within_seconds=30)
    assert stage.violations() == {}
