"""What a flood wait for another code costs: a wait, and nothing that the user has already."""

from __future__ import annotations

from typing import Any

import pytest

from app.logins.service import resend_code, submit_code
from tests.logins.stage import ALICE, Stage
from tests.waiting import wait_until


@pytest.fixture
def dave(stage: Stage) -> dict[str, Any]:
    """An account whose phone receives codes."""
    return stage.telegram.create_account()


def asked(stage: Stage, account: dict[str, Any]) -> str:
    """A login that has sent a code and waits for it."""
    login_id = stage.start(method="code", phone=f"+{account['phone']}").login.id
    stage.wait_for(login_id, "code_required")
    return login_id


def latest_code(stage: Stage, account: dict[str, Any]) -> str:
    """The newest code on the account's phone."""
    return str(stage.telegram.messages(account["id"])[-1]["code"])


def test_a_long_wait_for_another_code_does_not_end_a_login_that_has_one(stage: Stage, dave: dict[str, Any]) -> None:
    """Telegram refuses to send it again for an hour; the code on the phone is as good as before."""
    login_id = asked(stage, dave)
    stage.telegram.add_fault("auth.resendCode", error="FLOOD_WAIT_3600", user_id=dave["id"])
    resend_code(stage.core, login_id=login_id, reader=ALICE)
    wait_until(lambda: stage.calls("auth.resendCode") == 1)
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=latest_code(stage, dave))
    stage.wait_for(login_id, "authorized")
    assert stage.violations() == {}


def test_the_wish_for_another_code_outlives_a_short_wait(stage: Stage, dave: dict[str, Any]) -> None:
    """retry_after counts down; then the code is sent, and nobody has to ask for it once more."""
    login_id = asked(stage, dave)
    stage.telegram.add_fault("auth.resendCode", error="FLOOD_WAIT_2", user_id=dave["id"])
    resend_code(stage.core, login_id=login_id, reader=ALICE)
    wait_until(lambda: stage.calls("auth.resendCode") == 1)
    wait_until(lambda: stage.calls("auth.resendCode") == 2)
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=latest_code(stage, dave))
    stage.wait_for(login_id, "authorized")
    assert stage.violations() == {}


def test_a_code_that_has_expired_is_replaced_after_a_wait(stage: Stage, dave: dict[str, Any]) -> None:
    """The login knows that its code is dead: after the wait it sends a new one, instead of asking for the dead one."""
    login_id = asked(stage, dave)
    stage.telegram.add_fault("auth.signIn", error="PHONE_CODE_EXPIRED", user_id=dave["id"])
    stage.telegram.add_fault("auth.sendCode", error="FLOOD_WAIT_2", user_id=dave["id"])
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=latest_code(stage, dave))
    wait_until(lambda: stage.calls("auth.sendCode") == 2)
    wait_until(lambda: stage.calls("auth.sendCode") == 3)
    submit_code(stage.core, login_id=login_id, reader=ALICE, code=latest_code(stage, dave))
    stage.wait_for(login_id, "authorized")
    assert stage.violations() == {}
