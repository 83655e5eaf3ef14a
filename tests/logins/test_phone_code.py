"""Logins by phone code, for people whose only device is the one in their hand."""

from __future__ import annotations

from typing import Any

import pytest

from app.logins.service import resend_code, submit_code, submit_password
from app.logins.view import LoginView
from tests.logins.stage import ALICE, Stage
from tests.waiting import wait_until


@pytest.fixture
def dave(stage: Stage) -> dict[str, Any]:
    """An account whose phone receives codes."""
    return stage.telegram.create_account(first_name="Dave")


def asked(stage: Stage, account: dict[str, Any]) -> str:
    """A login that has sent a code and waits for it."""
    started = stage.start(method="code", phone=account["phone"])
    stage.wait_for(started.login.id, "code_required")
    return started.login.id


def latest_code(stage: Stage, account: dict[str, Any]) -> str:
    """The newest code on the account's phone."""
    return str(stage.telegram.messages(account["id"])[-1]["code"])


def wrong(code: str) -> str:
    """Another code of the same length."""
    return "".join("1" if digit != "1" else "2" for digit in code)


def attempts_left(login: LoginView) -> int | None:
    """What the user is shown."""
    return login.code.attempts_left if login.code else None


def test_the_right_code_completes_the_login(stage: Stage, dave: dict[str, Any]) -> None:
    """Delivery, length and attempts are shown; then it is authorized."""
    login_id = asked(stage, dave)
    login = stage.login(login_id)
    assert login.code is not None
    code = latest_code(stage, dave)
    assert (login.code.delivery, login.code.length, login.code.attempts_left) == ("app", len(code), 5)
    assert login.qr is None
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=code)
    assert stage.wait_for(login_id, "authorized").telegram_user_id == dave["id"]
    assert stage.violations() == {}


def test_a_wrong_code_costs_an_attempt_and_says_so(stage: Stage, dave: dict[str, Any]) -> None:
    """After a wrong one the right one still serves."""
    login_id = asked(stage, dave)
    code = latest_code(stage, dave)
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=wrong(code))
    stage.wait_for(login_id, "code_required", when=lambda login: attempts_left(login) == 4)
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=code)
    stage.wait_for(login_id, "authorized")


def test_five_wrong_codes_end_the_login(stage: Stage, dave: dict[str, Any]) -> None:
    """failed/code_attempts_exhausted, and nothing is logged in."""
    login_id = asked(stage, dave)
    bad = wrong(latest_code(stage, dave))
    for tries in range(1, 6):
        submit_code(stage.core, login_id=login_id, reader=ALICE, code=bad)
        wait_until(lambda tries=tries: stage.calls("auth.signIn") == tries)  # type: ignore[misc]  # bound on purpose
        if tries < 5:
            stage.wait_for(login_id, "code_required", when=lambda login, left=5 - tries: attempts_left(login) == left)  # type: ignore[misc]
    assert stage.wait_for(login_id, "failed").reason == "code_attempts_exhausted"
    assert stage.telegram.authorizations(dave["id"]) == []


def test_a_code_is_sent_again_on_request(stage: Stage, dave: dict[str, Any]) -> None:
    """The newest code serves."""
    login_id = asked(stage, dave)
    before = len(stage.telegram.messages(dave["id"]))
    resend_code(stage.core, login_id=login_id, reader=ALICE)
    wait_until(lambda: stage.calls("auth.resendCode") == 1)
    wait_until(lambda: len(stage.telegram.messages(dave["id"])) == before + 1)
    stage.wait_for(login_id, "code_required", when=lambda login: login.version > 2)
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=latest_code(stage, dave))
    stage.wait_for(login_id, "authorized")


def test_an_expired_code_is_replaced_by_a_new_one(stage: Stage, dave: dict[str, Any]) -> None:
    """The user types the new one; no attempt is lost."""
    login_id = asked(stage, dave)
    code = latest_code(stage, dave)
    stage.telegram.add_fault(method="auth.signIn", error="PHONE_CODE_EXPIRED", times=1)
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=code)
    wait_until(lambda: stage.calls("auth.sendCode") == 2)
    login = stage.wait_for(login_id, "code_required", when=lambda each: each.version > 2)
    assert attempts_left(login) == 5
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=latest_code(stage, dave))
    stage.wait_for(login_id, "authorized")


def test_a_flood_wait_while_signing_in_is_sat_out_with_the_code(stage: Stage, dave: dict[str, Any]) -> None:
    """retry_after counts down; then the same code is checked, which nobody has to type again."""
    login_id = asked(stage, dave)
    stage.telegram.add_fault(method="auth.signIn", error="FLOOD_WAIT_3", times=1)
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=latest_code(stage, dave))
    stage.wait_for(login_id, "code_required", when=lambda each: each.retry_after)
    stage.wait_for(login_id, "authorized")
    assert stage.violations() == {}


def test_a_code_whose_check_was_cut_off_is_checked_again(stage: Stage, dave: dict[str, Any]) -> None:
    """A connection that breaks under the call costs seconds, not a code."""
    login_id = asked(stage, dave)
    stage.telegram.add_fault(method="auth.signIn", drop_connection=True, times=1)
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=latest_code(stage, dave))
    stage.wait_for(login_id, "authorized")
    assert stage.calls("auth.sendCode") == 1


def test_a_password_is_asked_for_after_the_code(stage: Stage) -> None:
    """code_required → password_required → authorized."""
    account = stage.telegram.create_account(password="secret", hint="usual")
    login_id = asked(stage, account)
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=latest_code(stage, account))
    stage.wait_for(login_id, "password_required")
    submit_password(stage.core, login_id=login_id, reader=ALICE, password="secret")
    stage.wait_for(login_id, "authorized")


def test_a_phone_of_another_data_centre_is_followed_there(stage: Stage) -> None:
    """PHONE_MIGRATE_X: the code is asked for again at the phone's own data centre."""
    account = stage.telegram.create_account(dc_id=3)
    login_id = asked(stage, account)
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=latest_code(stage, account))
    stage.wait_for(login_id, "authorized")
    assert stage.sessions()[0].dc_id == 3


def test_a_number_that_is_none_fails_with_its_reason(stage: Stage) -> None:
    """phone_invalid, not an outage."""
    stage.telegram.add_fault(method="auth.sendCode", error="PHONE_NUMBER_INVALID", times=1)
    started = stage.start(method="code", phone="+4915100000000")
    assert stage.wait_for(started.login.id, "failed").reason == "phone_invalid"


def test_a_banned_number_fails_with_its_reason(stage: Stage, dave: dict[str, Any]) -> None:
    """account_banned."""
    stage.telegram.set_state(dave["id"], "banned")
    started = stage.start(method="code", phone=dave["phone"])
    assert stage.wait_for(started.login.id, "failed").reason == "account_banned"


def test_the_next_worker_goes_on_with_the_code_that_was_sent(stage: Stage, dave: dict[str, Any]) -> None:
    """Phone, key and Telegram's handle are sealed in the row: nobody gets a second code."""
    login_id = asked(stage, dave)
    stage.run_dispatched = False
    stage.workers[0].logins.drain()
    wait_until(lambda: stage.outcomes)
    stage.add_worker()
    stage.run(login_id, worker=1)
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=latest_code(stage, dave))
    stage.wait_for(login_id, "authorized")
    assert stage.calls("auth.sendCode") == 1
    assert stage.new("handshakes") == 1
