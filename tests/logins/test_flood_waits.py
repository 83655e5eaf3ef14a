"""Flood waits and pacing in logins: never earlier than Telegram said, and nobody holds a thread meanwhile."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from app.logins.service import Reader, submit_code, submit_password
from tests.logins.stage import ALICE, Stage
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


def test_a_logins_flood_wait_is_known_to_every_worker(stage: Stage) -> None:
    """The worker that comes next for this login does not even ask; the login beside it goes on."""
    stage.telegram.add_fault(method="auth.exportLoginToken", error="FLOOD_WAIT_3", times=1)
    stage.run_dispatched = False
    first = stage.start()
    stage.run(first.login.id)
    wait_until(lambda: stage.outcomes)
    stage.add_worker()
    stage.run(first.login.id, worker=1)
    wait_until(lambda: len(stage.outcomes) == 2)
    assert [each.name for each in stage.outcomes] == ["put_off", "put_off"]
    assert stage.calls("auth.exportLoginToken") == 1
    second = stage.start()
    stage.run(second.login.id, worker=1)
    stage.wait_for_qr(second.login.id, within_seconds=2)
    stage.wait_for_qr(first.login.id)
    assert stage.violations() == {}


@pytest.mark.parametrize("method", ["auth.checkPassword", "account.getPassword", "auth.sendCode", "auth.signIn"])
def test_one_persons_flood_wait_is_nobody_elses(stage: Stage, method: str) -> None:
    """Alice's and Bob's applications share an api_id: what Telegram asks of Alice's user changes nothing for Bob's."""
    by_code = method in ("auth.sendCode", "auth.signIn")
    alice = stage.telegram.create_account(password="secret")
    bob = stage.telegram.create_account(password="secret")
    if method == "auth.sendCode":
        stage.telegram.add_fault(method=method, error="FLOOD_WAIT_30", times=1)
    mine = begin(stage, alice, tenant="alice", by_code=by_code)
    if method != "auth.sendCode":
        meet_wait(stage, mine, alice, method)
    wait_until(lambda: stage.login(mine).retry_after)
    theirs = begin(stage, bob, tenant="bob", by_code=by_code)
    finish(stage, theirs, bob, tenant="bob", by_code=by_code)
    assert stage.violations() == {}


def begin(stage: Stage, account: dict[str, Any], *, tenant: str, by_code: bool) -> str:
    """Start a login, as far as the user does nothing yet."""
    phone = {"method": "code", "phone": f"+{account['phone'].lstrip('+')}"} if by_code else {}
    return stage.start(tenant=tenant, **phone).login.id


def meet_wait(stage: Stage, login_id: str, account: dict[str, Any], method: str) -> None:
    """Do what makes Alice's worker call the method, which answers with a flood wait."""
    if method == "auth.signIn":
        stage.wait_for(login_id, "code_required")
        stage.telegram.add_fault(method=method, error="FLOOD_WAIT_30", times=1)
        code = stage.telegram.messages(account["id"])[-1]["code"]
        submit_code(stage.core, login_id=login_id, reader=ALICE, code=code)
        return
    if method == "account.getPassword":
        stage.telegram.add_fault(method=method, error="FLOOD_WAIT_30", times=1)
    stage.telegram.scan(account["id"], stage.wait_for_qr(login_id))
    if method == "auth.checkPassword":
        stage.wait_for(login_id, "password_required")
        stage.telegram.add_fault(method=method, error="FLOOD_WAIT_30", times=1)
        submit_password(stage.core, login_id=login_id, reader=ALICE, password="secret")


def finish(stage: Stage, login_id: str, account: dict[str, Any], *, tenant: str, by_code: bool) -> None:
    """Log in to the end, without any wait."""
    reader = Reader(tenant_id=tenant)
    if by_code:
        stage.wait_for(login_id, "code_required", tenant=tenant)
        code = stage.telegram.messages(account["id"])[-1]["code"]
        submit_code(stage.core, login_id=login_id, reader=reader, code=code)
    else:
        stage.telegram.scan(account["id"], stage.wait_for_qr(login_id, tenant=tenant))
    stage.wait_for(login_id, "password_required", tenant=tenant)
    submit_password(stage.core, login_id=login_id, reader=reader, password="secret")
    stage.wait_for(login_id, "authorized", tenant=tenant)


def test_one_phone_numbers_wait_holds_for_whoever_asks(stage: Stage) -> None:
    """Telegram counts codes by number: Bob's application waits, too, and breaks no rule."""
    account = stage.telegram.create_account()
    stage.telegram.add_fault(method="auth.sendCode", error="FLOOD_WAIT_3", times=1)
    mine = begin(stage, account, tenant="alice", by_code=True)
    wait_until(lambda: stage.login(mine).retry_after)
    theirs = begin(stage, account, tenant="bob", by_code=True)
    wait_until(lambda: stage.login(theirs, tenant="bob").retry_after)
    assert stage.calls("auth.sendCode") == 1
    stage.wait_for(mine, "code_required")
    stage.wait_for(theirs, "code_required", tenant="bob")
    assert stage.violations() == {}


def test_one_accounts_wait_for_passwords_holds_in_all_its_logins(stage: Stage) -> None:
    """Telegram counts passwords by account, and nobody knows the account yet: its other login, at Bob's, waits all the same."""
    account = stage.telegram.create_account(password="secret")
    mine, theirs = (asked_for_password(stage, account, tenant=tenant) for tenant in ("alice", "bob"))
    stage.telegram.add_fault(method="auth.checkPassword", error="FLOOD_WAIT_4", user_id=account["id"])
    submit_password(stage.core, login_id=mine, reader=ALICE, password="secret")
    stage.wait_for(mine, "password_required", when=lambda login: login.retry_after)
    submit_password(stage.core, login_id=theirs, reader=Reader(tenant_id="bob"), password="secret")
    stage.wait_for(theirs, "password_required", tenant="bob", when=lambda login: login.retry_after)
    assert stage.calls("auth.checkPassword") == 1
    stage.wait_for(mine, "authorized")
    stage.wait_for(theirs, "authorized", tenant="bob")
    assert stage.violations() == {}


def test_one_person_in_many_logins_is_no_storm(stage: Stage) -> None:
    """Who has used up the tries at the own password in four logins makes nobody else wait."""
    account, bob = (stage.telegram.create_account(password="secret") for _ in range(2))
    login_ids = [asked_for_password(stage, account, tenant="alice") for _ in range(4)]
    stage.telegram.add_fault(method="auth.checkPassword", error="FLOOD_WAIT_900", times=4, user_id=account["id"])
    for login_id in login_ids:
        submit_password(stage.core, login_id=login_id, reader=ALICE, password="wrong")
        assert stage.wait_for(login_id, "failed").reason == "flood_wait"
    theirs = begin(stage, bob, tenant="bob", by_code=False)
    finish(stage, theirs, bob, tenant="bob", by_code=False)
    assert stage.violations() == {}


def asked_for_password(stage: Stage, account: dict[str, Any], *, tenant: str) -> str:
    """A login that the account has scanned, and that waits for its password."""
    login_id = begin(stage, account, tenant=tenant, by_code=False)
    stage.telegram.scan(account["id"], stage.wait_for_qr(login_id, tenant=tenant))
    stage.wait_for(login_id, "password_required", tenant=tenant)
    return login_id


def test_a_wait_for_a_log_out_is_kept_after_the_login(stage: Stage) -> None:
    """The login knew the account, whoever logs its key out later knows the key: none of them asks early, nobody else waits."""
    expected, mallory, bob = (stage.telegram.create_account() for _ in range(3))
    stage.telegram.add_fault(method="auth.logOut", error="FLOOD_WAIT_4", user_id=mallory["id"])
    login_id = stage.start(telegram_user_id=expected["id"]).login.id
    stage.telegram.scan(mallory["id"], stage.wait_for_qr(login_id))
    assert stage.wait_for(login_id, "failed").reason == "ownership_mismatch"
    wait_until(lambda: stage.calls("auth.logOut") == 1)
    wait_until(lambda: stage.outcomes)
    stage.log_out_left_keys()
    assert stage.calls("auth.logOut") == 1
    other = stage.start(tenant="bob", telegram_user_id=expected["id"]).login.id
    stage.telegram.scan(bob["id"], stage.wait_for_qr(other, tenant="bob"))
    wait_until(lambda: len(stage.outcomes) == 2)  # its worker is off the key, which may be used again now
    assert stage.telegram.authorizations(bob["id"]) == []
    wait_until(lambda: logged_out_later(stage, mallory["id"]))
    assert stage.violations() == {}


def logged_out_later(stage: Stage, user_id: int) -> bool:
    """Have the keys that were left behind logged out, as if their time had come; whether the account is rid of them."""
    stage.log_out_left_keys()
    return stage.telegram.authorizations(user_id) == []


def test_a_storm_over_many_accounts_closes_the_apis_gate(stage: Stage) -> None:
    """Three people meet waits of one method: the fourth is not even asked about, until the longest wait is over."""
    stage.telegram.add_fault(method="auth.exportLoginToken", error="FLOOD_WAIT_4", times=3)
    started_at = time.monotonic()
    for number in range(3):
        stage.start()
        wait_until(lambda seen=number + 1: len(stage.outcomes) == seen)  # type: ignore[misc]
    fourth = stage.start()
    wait_until(lambda: len(stage.outcomes) == 4)
    assert {each.name for each in stage.outcomes} == {"put_off"}
    assert stage.calls("auth.exportLoginToken") == 3
    stage.wait_for_qr(fourth.login.id)
    assert time.monotonic() - started_at > 4
    registry = stage.workers[0].core.registry
    labels = {"method": "auth.exportLoginToken"}
    assert registry.get_sample_value("telethon_floodwait_api_gate_total", labels) == 1
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
