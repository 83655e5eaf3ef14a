"""Logins of accounts with a 2FA password: right, wrong, slow, twice, flooded, and a worker that goes away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.core import Core
from app.logins.service import submit_password
from app.logins.view import LoginView
from tests.logins.stage import ALICE, Stage
from tests.waiting import wait_until

PASSWORD = "correct horse battery staple"


@pytest.fixture
def carol(stage: Stage) -> dict[str, Any]:
    """An account with a password and a hint."""
    return stage.telegram.create_account(password=PASSWORD, hint="the comic")


def scanned(stage: Stage, account: dict[str, Any]) -> str:
    """A login that the account has scanned, and that waits for its password."""
    started = stage.start()
    stage.telegram.scan(account["id"], stage.wait_for_qr(started.login.id))
    stage.wait_for(started.login.id, "password_required")
    return started.login.id


def answer(core: Core, login_id: str, password: str) -> LoginView:
    """Send a password."""
    return submit_password(core, login_id=login_id, reader=ALICE, password=password)


def attempts_left(login: LoginView) -> int | None:
    """What the user is shown."""
    return login.password.attempts_left if login.password else None


def shows(left: int) -> Callable[[LoginView], bool]:
    """Whether a login shows that many attempts left."""
    return lambda login: attempts_left(login) == left


def test_the_right_password_completes_the_login(stage: Stage, carol: dict[str, Any]) -> None:
    """The hint and five attempts are shown; then it is authorized."""
    login_id = scanned(stage, carol)
    login = stage.login(login_id)
    assert login.password is not None
    assert (login.password.hint, login.password.attempts_left) == ("the comic", 5)
    assert login.qr is None
    answer(stage.core, login_id, PASSWORD)
    assert stage.wait_for(login_id, "authorized").telegram_user_id == carol["id"]
    assert stage.violations() == {}


def test_a_wrong_password_costs_an_attempt_and_says_so(stage: Stage, carol: dict[str, Any]) -> None:
    """After two wrong ones the right one still serves."""
    login_id = scanned(stage, carol)
    for left in (4, 3):
        answer(stage.core, login_id, "wrong")
        stage.wait_for(login_id, "password_required", when=shows(left))
    answer(stage.core, login_id, PASSWORD)
    stage.wait_for(login_id, "authorized")


def test_five_wrong_passwords_end_the_login_and_leave_no_ghost(stage: Stage, carol: dict[str, Any]) -> None:
    """failed/password_attempts_exhausted; nothing of it is left in the account's authorizations."""
    login_id = scanned(stage, carol)
    assert [each["password_pending"] for each in stage.telegram.authorizations(carol["id"])] == [True]
    for left in (4, 3, 2, 1):
        answer(stage.core, login_id, "wrong")
        stage.wait_for(login_id, "password_required", when=shows(left))
    answer(stage.core, login_id, "wrong")
    assert stage.wait_for(login_id, "failed").reason == "password_attempts_exhausted"
    wait_until(lambda: stage.telegram.authorizations(carol["id"]) == [])
    assert stage.sessions() == []


def test_the_same_password_sent_twice_is_one_attempt(stage: Stage, carol: dict[str, Any]) -> None:
    """A second click while the first is being checked costs nothing."""
    login_id = scanned(stage, carol)
    for _ in range(3):
        answer(stage.core, login_id, "wrong")
    stage.wait_for(login_id, "password_required", when=shows(4))
    checks = stage.calls("auth.checkPassword")
    answer(stage.core, login_id, PASSWORD)
    stage.wait_for(login_id, "authorized")
    assert (checks, stage.calls("auth.checkPassword")) == (1, 2)


def test_each_try_asks_for_fresh_parameters(stage: Stage, carol: dict[str, Any]) -> None:
    """Parameters that went stale while somebody typed are fetched again, at no cost to the user."""
    login_id = scanned(stage, carol)
    stage.telegram.add_fault(method="auth.checkPassword", error="SRP_ID_INVALID", times=1)
    answer(stage.core, login_id, PASSWORD)
    stage.wait_for(login_id, "authorized")
    assert stage.calls("account.getPassword") >= 3


def test_a_flood_wait_while_checking_is_sat_out_with_its_countdown(stage: Stage, carol: dict[str, Any]) -> None:
    """retry_after counts down; then the same password is checked, and no attempt is lost."""
    login_id = scanned(stage, carol)
    stage.telegram.add_fault(method="auth.checkPassword", error="FLOOD_WAIT_3", times=1)
    answer(stage.core, login_id, PASSWORD)
    login = stage.wait_for(login_id, "password_required", when=lambda each: each.retry_after)
    assert login.retry_after is not None
    assert 1 <= login.retry_after <= 4
    assert attempts_left(login) == 5
    stage.wait_for(login_id, "authorized")
    assert stage.violations() == {}


def test_a_long_flood_wait_while_checking_fails_at_once(stage: Stage, carol: dict[str, Any]) -> None:
    """Over 60 s nobody is kept waiting; the ghost is logged out."""
    login_id = scanned(stage, carol)
    stage.telegram.add_fault(method="auth.checkPassword", error="FLOOD_WAIT_900", times=1)
    answer(stage.core, login_id, PASSWORD)
    login = stage.wait_for(login_id, "failed")
    assert login.reason == "flood_wait"
    assert login.retry_after is not None
    assert 890 < login.retry_after <= 900
    wait_until(lambda: stage.telegram.authorizations(carol["id"]) == [])


def test_the_wait_for_a_password_survives_a_lost_connection(stage: Stage, carol: dict[str, Any]) -> None:
    """The pending state belongs to the auth key: a new connection goes on with it."""
    login_id = scanned(stage, carol)
    answer(stage.core, login_id, "wrong")
    stage.wait_for(login_id, "password_required", when=shows(4))
    stage.telegram.network(cut_all=True)
    answer(stage.core, login_id, PASSWORD)
    stage.wait_for(login_id, "authorized")
    assert stage.new("handshakes") == 1


def test_a_password_whose_check_was_cut_off_is_checked_again(stage: Stage, carol: dict[str, Any]) -> None:
    """A connection that breaks under the call costs seconds: no attempt, and nobody types it again."""
    login_id = scanned(stage, carol)
    stage.telegram.add_fault(method="auth.checkPassword", drop_connection=True, times=1)
    answer(stage.core, login_id, "wrong")
    assert attempts_left(stage.wait_for(login_id, "password_required", when=shows(4))) == 4
    answer(stage.core, login_id, PASSWORD)
    stage.wait_for(login_id, "authorized")
    assert stage.calls("auth.checkPassword") == 3


def test_a_password_that_lands_while_no_worker_runs_completes_when_one_does(
    stage: Stage, carol: dict[str, Any]
) -> None:
    """The answer waits sealed for a minute; the next worker finds it."""
    login_id = scanned(stage, carol)
    stage.run_dispatched = False
    stage.workers[0].logins.drain()
    wait_until(lambda: [each.name for each in stage.outcomes] == ["handed_over"])
    answer(stage.core, login_id, PASSWORD)
    stage.add_worker()
    stage.run(login_id, worker=1)
    stage.wait_for(login_id, "authorized")
    assert stage.new("handshakes") == 1
