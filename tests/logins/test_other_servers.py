"""Servers that speak MTProto and are not our sandbox: a login assumes nothing of them that the protocol does not say."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.clock import utc_now
from app.logins.service import submit_password
from sandbox import tl
from tests.builders import make_settings
from tests.logins.odd_telegram import odd_telegram, updates_in_every_form
from tests.logins.stage import ALICE, Stage
from tests.waiting import wait_until

types = tl.types
OddStage = Callable[..., Stage]
UPDATES = updates_in_every_form()


@pytest.fixture
def odd_stage(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[OddStage]:
    """Makes a stage with an odd Telegram."""
    with ExitStack() as stack:

        def make(*, host: str = "127.0.0.1", settings: dict[str, Any] | None = None, **odd: Any) -> Stage:
            telegram, driver = stack.enter_context(odd_telegram(tmp_path, **odd))
            made = make_settings(
                database_url=database_url,
                redis_url=redis_url,
                key_file=tmp_path / "key",
                telegram_dc_address=f"2:{host}:{telegram.ports[2]}",
                telegram_public_key_file=telegram.options.public_key_file,
                **(settings or {}),
            )
            return stack.enter_context(Stage(made, driver))

        yield make


@pytest.mark.parametrize("form", UPDATES)
def test_an_update_is_a_hint_in_whatever_form_it_comes(odd_stage: OddStage, form: str) -> None:
    """The scan is noticed at once, long before the next poll."""
    stage = odd_stage(push=UPDATES[form], settings={"qr_poll_seconds": 60})
    started = stage.start()
    stage.telegram.scan(stage.telegram.create_account()["id"], stage.wait_for_qr(started.login.id))
    stage.wait_for(started.login.id, "authorized", within_seconds=8)


def test_a_server_that_never_pushes_is_polled(odd_stage: OddStage) -> None:
    """Every ``QR_POLL_SECONDS``."""
    stage = odd_stage(push=bytes(types.UpdatesTooLong()), settings={"qr_poll_seconds": 1})
    started = stage.start()
    stage.telegram.scan(stage.telegram.create_account()["id"], stage.wait_for_qr(started.login.id))
    stage.wait_for(started.login.id, "authorized", within_seconds=8)


@pytest.mark.parametrize("life", [timedelta(days=-365), timedelta(hours=-1), timedelta(days=365)])
def test_a_token_life_that_makes_no_sense_is_not_believed(odd_stage: OddStage, life: timedelta) -> None:
    """A server whose clocks disagree: the code is shown for the usual half minute, and the server is not pestered."""

    def other_life(answer: Any) -> Any:
        answer.expires += life
        return answer

    stage = odd_stage(auth__exportLoginToken=[other_life] * 100)
    started = stage.start()
    stage.wait_for_qr(started.login.id)
    qr = stage.login(started.login.id).qr
    assert qr is not None
    assert timedelta(0) < qr.expires_at - utc_now() <= timedelta(seconds=30)
    account = stage.telegram.create_account()
    stage.telegram.scan(account["id"], qr.url)
    stage.wait_for(started.login.id, "authorized")
    assert stage.calls("auth.exportLoginToken") <= 3


@pytest.mark.parametrize("answer", [[], [types.UserEmpty(1)]], ids=["nobody", "userEmpty"])
def test_a_server_that_does_not_say_who_is_logged_in_is_asked_again(odd_stage: OddStage, answer: list[Any]) -> None:
    """An authorized login is not lost for it."""
    stage = odd_stage(users__getUsers=[lambda _own: answer, lambda own: own])
    started = stage.start()
    account = stage.telegram.create_account()
    stage.telegram.scan(account["id"], stage.wait_for_qr(started.login.id))
    assert stage.wait_for(started.login.id, "authorized").telegram_user_id == account["id"]


def test_a_server_that_listens_everywhere_advertises_no_address(odd_stage: OddStage) -> None:
    """0.0.0.0 in its config is where it was reached: the login follows a move there, and its session can be opened."""

    def everywhere(config: Any) -> Any:
        for option in config.dc_options:
            option.ip_address = "0.0.0.0"  # what such a server says
        return config

    stage = odd_stage(help__getConfig=[everywhere] * 10)
    started = stage.start()
    account = stage.telegram.create_account(dc_id=3)
    stage.telegram.scan(account["id"], stage.wait_for_qr(started.login.id))
    stage.wait_for(started.login.id, "authorized")
    assert stage.sessions()[0].dc_id == 3


def test_a_server_may_be_named_by_its_host_name(odd_stage: OddStage) -> None:
    """``TELEGRAM_DC_ADDRESS=2:localhost:4430``, and a config that advertises nothing."""

    def nothing(config: Any) -> Any:
        config.dc_options = []
        return config

    stage = odd_stage(host="localhost", help__getConfig=[nothing] * 10)
    started = stage.start()
    stage.telegram.scan(stage.telegram.create_account()["id"], stage.wait_for_qr(started.login.id))
    stage.wait_for(started.login.id, "authorized")


def test_a_server_may_speak_ipv6_alone(odd_stage: OddStage) -> None:
    """All its addresses are marked so; the login follows a move to one of them."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    stage = odd_stage(host="[::1]", listens_on="::1")
    started = stage.start()
    account = stage.telegram.create_account(dc_id=3)
    stage.telegram.scan(account["id"], stage.wait_for_qr(started.login.id))
    stage.wait_for(started.login.id, "authorized")
    assert stage.sessions()[0].dc_id == 3


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("auth.importLoginToken", "CONNECTION_NOT_INITED"),
        ("auth.importLoginToken", "NETWORK_MIGRATE_2"),
        ("auth.importLoginToken", "AUTH_KEY_UNREGISTERED"),
        ("auth.exportLoginToken", "Timeout"),
        ("users.getUsers", "Timeout"),
    ],
)
def test_an_error_after_the_scan_does_not_lose_it(odd_stage: OddStage, method: str, error: str) -> None:
    """After a scan by an account of another data centre, where each call matters."""
    stage = odd_stage(settings={"qr_poll_seconds": 1})
    started = stage.start()
    account = stage.telegram.create_account(dc_id=3)
    url = stage.wait_for_qr(started.login.id)
    stage.telegram.add_fault(method=method, error=error, times=1)
    stage.telegram.scan(account["id"], url)
    wait_until(lambda: not stage.telegram.faults(), within_seconds=10)
    stage.wait_for(started.login.id, "authorized", within_seconds=25)


def test_password_parameters_that_cannot_be_used_end_the_login(odd_stage: OddStage) -> None:
    """A key derivation that nobody knows: a reason rather than silence, and nothing is left at Telegram."""

    def unknown(parameters: Any) -> Any:
        parameters.current_algo = types.PasswordKdfAlgoUnknown()
        return parameters

    stage = odd_stage(account__getPassword=[unknown] * 5)
    account = stage.telegram.create_account(password="secret")
    started = stage.start()
    stage.telegram.scan(account["id"], stage.wait_for_qr(started.login.id))
    stage.wait_for(started.login.id, "password_required")
    submit_password(stage.core, login_id=started.login.id, reader=ALICE, password="secret")
    assert stage.wait_for(started.login.id, "failed").reason == "internal_error"
    wait_until(lambda: not stage.telegram.authorizations(account["id"]), within_seconds=10)


@pytest.mark.parametrize(
    ("error", "reason"), [("PHONE_NUMBER_FLOOD", "flood_wait"), ("PHONE_NUMBER_INVALID", "phone_invalid")]
)
def test_a_flood_of_codes_is_no_bad_number(odd_stage: OddStage, error: str, reason: str) -> None:
    """Telegram says for a number that asked too often: later, not another one."""
    stage = odd_stage()
    account = stage.telegram.create_account()
    stage.telegram.add_fault(method="auth.sendCode", error=error, times=1)
    started = stage.start(method="code", phone=account["phone"])
    assert stage.wait_for(started.login.id, "failed").reason == reason


def test_a_code_that_is_to_be_paid_for_ends_the_login(odd_stage: OddStage) -> None:
    """With a reason rather than an error of ours."""

    def paid(sent: Any) -> Any:
        return types.auth.SentCodePaymentRequired("product", sent.phone_code_hash, "", "", 0, "USD", 100)

    stage = odd_stage(auth__sendCode=[paid] * 5)
    started = stage.start(method="code", phone=stage.telegram.create_account()["phone"])
    assert stage.wait_for(started.login.id, "failed").reason == "payment_required"


def test_data_centres_that_send_us_to_each_other_do_not_keep_us_busy(odd_stage: OddStage) -> None:
    """The moves slow down, and a login ends with its life."""

    def elsewhere(_own: Any) -> Any:
        return types.auth.LoginTokenMigrateTo(dc_id=3, token=b"x")

    moves: list[Any] = [elsewhere] * 1000
    stage = odd_stage(auth__exportLoginToken=moves, auth__importLoginToken=moves, settings={"qr_ttl_seconds": 20})
    started = stage.start()
    stage.wait_for(started.login.id, "failed", within_seconds=25)
    assert stage.new("handshakes") < 12


def test_a_published_token_says_when_it_expires(odd_stage: OddStage) -> None:
    """By our clock, whatever the server's says, as long as it agrees with itself."""
    shift = timedelta(hours=5)

    def later_config(config: Any) -> Any:
        config.date += shift
        return config

    def later_token(answer: Any) -> Any:
        answer.expires += shift
        return answer

    stage = odd_stage(help__getConfig=[later_config] * 9, auth__exportLoginToken=[later_token] * 9)
    started = stage.start()
    stage.wait_for_qr(started.login.id)
    qr = stage.login(started.login.id).qr
    assert qr is not None
    assert timedelta(seconds=20) < qr.expires_at - datetime.now(UTC) < timedelta(seconds=32)


def test_a_server_whose_salts_change_all_the_time_is_followed(make_stage: OddStage) -> None:
    """bad_server_salt costs a repetition and no more; a repeated message is no second call."""
    stage = make_stage(sandbox={"salt_seconds": 1}, qr_poll_seconds=1)
    started = stage.start()
    url = stage.wait_for_qr(started.login.id)
    wait_until(lambda: stage.calls("auth.exportLoginToken") >= 4, within_seconds=15)
    stage.telegram.scan(stage.telegram.create_account()["id"], url)
    stage.wait_for(started.login.id, "authorized")
    assert stage.violations() == {}
    assert stage.new("handshakes") == 1


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_wrong_clock_of_ours_is_put_right(stage: Stage, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """With a new key and with a known one, whose first message is refused as too old or too new."""
    clock = SimpleNamespace(time=lambda: time.time() + hours * 3600)
    monkeypatch.setattr("telethon.network.mtprotostate.time", clock)
    monkeypatch.setattr("telethon.network.authenticator.time", clock)
    started = stage.start()
    url = stage.wait_for_qr(started.login.id)
    stage.telegram.network(cut_all=True)
    stage.telegram.scan(stage.telegram.create_account()["id"], url)
    stage.wait_for(started.login.id, "authorized", within_seconds=25)
    assert stage.new("handshakes") == 1
