"""A login that goes on the other way: from the QR code to a phone code, and back."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from app.logins.service import submit_code, submit_password
from app.logins.switching import switch_method
from app.logins.view import LoginView
from tests.logins.stage import ALICE, Stage


@pytest.fixture(autouse=True)
def same_worker(stage: Stage) -> None:
    """What the only worker hands over comes back to it."""
    stage.takes_back = True


@pytest.fixture
def dave(stage: Stage) -> dict[str, Any]:
    """An account whose phone scans and receives codes."""
    return stage.telegram.create_account(first_name="Dave")


def to_code(stage: Stage, login_id: str, account: dict[str, Any]) -> LoginView:
    """Switch a login to the account's number."""
    return switch_method(stage.core, login_id=login_id, reader=ALICE, method="code", phone=account["phone"])


def to_qr(stage: Stage, login_id: str) -> LoginView:
    """Switch a login to the QR code."""
    return switch_method(stage.core, login_id=login_id, reader=ALICE, method="qr", phone=None)


def latest_code(stage: Stage, account: dict[str, Any]) -> str:
    """The newest code on the account's phone."""
    return str(stage.telegram.messages(account["id"])[-1]["code"])


def test_a_qr_login_goes_on_by_code(stage: Stage, dave: dict[str, Any]) -> None:
    """The same login and auth key; the code completes it, and one device is logged in."""
    started = stage.start()
    stage.wait_for_qr(started.login.id)
    assert to_code(stage, started.login.id, dave).method == "code"
    login = stage.wait_for(started.login.id, "code_required")
    assert login.qr is None
    submit_code(stage.core, login_id=login.id, reader=ALICE, code=latest_code(stage, dave))
    assert stage.wait_for(login.id, "authorized").telegram_user_id == dave["id"]
    assert stage.new("auth_keys") == 1
    assert len(stage.telegram.authorizations(dave["id"])) == 1
    assert stage.violations() == {}


def test_a_code_login_goes_on_by_qr(stage: Stage, dave: dict[str, Any]) -> None:
    """The code is not asked for any more; a scan completes it."""
    started = stage.start(method="code", phone=dave["phone"])
    stage.wait_for(started.login.id, "code_required")
    assert to_qr(stage, started.login.id).code is None
    stage.telegram.scan(dave["id"], stage.wait_for_qr(started.login.id))
    stage.wait_for(started.login.id, "authorized")
    assert len(stage.telegram.authorizations(dave["id"])) == 1
    assert stage.violations() == {}


def test_a_mistyped_number_is_corrected(stage: Stage, dave: dict[str, Any]) -> None:
    """To code once more, with another number: the code goes there."""
    other = stage.telegram.create_account(first_name="Erin")
    started = stage.start(method="code", phone=other["phone"])
    stage.wait_for(started.login.id, "code_required")
    before = stage.login(started.login.id).version
    to_code(stage, started.login.id, dave)
    stage.wait_for(started.login.id, "code_required", when=lambda login: login.version > before + 1)
    submit_code(stage.core, login_id=started.login.id, reader=ALICE, code=latest_code(stage, dave))
    assert stage.wait_for(started.login.id, "authorized").telegram_user_id == dave["id"]


def test_a_switch_before_any_worker_came_is_gone_by(stage: Stage, dave: dict[str, Any]) -> None:
    """Nobody drives it yet: whoever takes it finds the new way in the row."""
    stage.run_dispatched = False
    started = stage.start()
    to_code(stage, started.login.id, dave)
    stage.run(started.login.id)
    stage.wait_for(started.login.id, "code_required")
    assert stage.calls("auth.exportLoginToken") == 0


def test_a_scan_just_before_the_switch_counts(stage: Stage) -> None:
    """The phone accepted at once, and the switch came before anybody looked: the login is authorized, no code is sent."""
    account = stage.telegram.create_account(first_name="Frank", accept="at_once")
    started = stage.start()
    url = stage.wait_for_qr(started.login.id)
    stage.telegram.add_fault("auth.exportLoginToken", silent=True, times=1)  # the hint of the scan comes to nothing
    stage.telegram.scan(account["id"], url)
    to_code(stage, started.login.id, account)
    stage.wait_for(started.login.id, "authorized")
    assert stage.calls("auth.sendCode") == 0


def test_a_password_follows_a_switch(stage: Stage) -> None:
    """2FA after a code that came by a switch."""
    account = stage.telegram.create_account(first_name="Grace", password="the right one")
    started = stage.start()
    stage.wait_for_qr(started.login.id)
    to_code(stage, started.login.id, account)
    stage.wait_for(started.login.id, "code_required")
    submit_code(stage.core, login_id=started.login.id, reader=ALICE, code=latest_code(stage, account))
    stage.wait_for(started.login.id, "password_required")
    submit_password(stage.core, login_id=started.login.id, reader=ALICE, password="the right one")
    stage.wait_for(started.login.id, "authorized")


def test_switches_at_once_leave_one_way(stage: Stage, dave: dict[str, Any]) -> None:
    """Impatient taps: the last commit wins, and the login goes that way."""
    started = stage.start()
    stage.wait_for_qr(started.login.id)
    threads = [threading.Thread(target=to_code, args=(stage, started.login.id, dave)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    stage.wait_for(started.login.id, "code_required", within_seconds=25)
    submit_code(stage.core, login_id=started.login.id, reader=ALICE, code=latest_code(stage, dave))
    stage.wait_for(started.login.id, "authorized")
    assert len(stage.telegram.authorizations(dave["id"])) == 1
