"""A phone that accepts the last QR code after the login has ended: nobody stays logged in with a key that no session owns."""

from __future__ import annotations

import contextlib

import pytest

from app.clock import utc_now
from app.logins.service import cancel_login
from sandbox.driver import SandboxRefusedError
from tests.logins.stage import ALICE, Stage
from tests.waiting import wait_until

TOKEN_SECONDS = 6
WAYS = [(accept, password) for accept in ("at_once", "next_export") for password in (None, "secret")]


def wait_for_the_last_word(stage: Stage) -> None:
    """Wait until no login token can be accepted any more, and have the keys logged out whose time has come then."""
    wait_until(
        lambda: all(key.final_ask_at <= utc_now() for key in stage.leaving_keys()), within_seconds=TOKEN_SECONDS + 10
    )
    stage.log_out_left_keys()


@pytest.mark.parametrize(("accept", "password"), WAYS)
def test_a_scan_after_the_cancel_leaves_nobody_logged_in(make_stage: object, accept: str, password: str | None) -> None:
    """The key was logged out when it could not be, and is logged out again when its last token is dead."""
    stage: Stage = make_stage(sandbox={"token_seconds": TOKEN_SECONDS})  # type: ignore[operator]
    account = stage.telegram.create_account(accept=accept, password=password)
    started = stage.start()
    url = stage.wait_for_qr(started.login.id)
    cancel_login(stage.core, login_id=started.login.id, reader=ALICE)
    wait_until(lambda: [key.tries for key in stage.leaving_keys()] == [1])
    wait_until(lambda: stage.new("connections") <= 0)
    stage.telegram.scan(account["id"], url)
    late = stage.telegram.authorizations(account["id"])
    assert len(late) == (1 if accept == "at_once" else 0)
    wait_for_the_last_word(stage)
    assert stage.telegram.authorizations(account["id"]) == []
    assert (stage.leaving_keys(), stage.sessions(), stage.violations()) == ([], [], {})


@pytest.mark.parametrize(("accept", "password"), WAYS)
def test_a_scan_after_the_expiry_leaves_nobody_logged_in(make_stage: object, accept: str, password: str | None) -> None:
    """The same when the login ended by itself."""
    stage: Stage = make_stage(sandbox={"token_seconds": 12}, qr_ttl_seconds=20)  # type: ignore[operator]
    account = stage.telegram.create_account(accept=accept, password=password)
    started = stage.start()
    url = stage.wait_for_qr(started.login.id)
    stage.wait_for(started.login.id, "expired", within_seconds=20)
    wait_until(lambda: stage.new("connections") <= 0)
    with contextlib.suppress(SandboxRefusedError):  # on a slow machine the token is dead by now
        stage.telegram.scan(account["id"], url)
    wait_for_the_last_word(stage)
    assert stage.telegram.authorizations(account["id"]) == []
    assert (stage.leaving_keys(), stage.sessions(), stage.violations()) == ([], [], {})


def test_a_scan_while_no_worker_is_there_to_see_the_cancel(make_stage: object) -> None:
    """Its worker is gone, the user cancels, the phone scans: the sweep's log-out ends it."""
    stage: Stage = make_stage(sandbox={"token_seconds": TOKEN_SECONDS})  # type: ignore[operator]
    account = stage.telegram.create_account(accept="at_once")
    started = stage.start()
    url = stage.wait_for_qr(started.login.id)
    stage.run_dispatched = False
    stage.workers[0].logins.drain()
    wait_until(lambda: stage.outcomes)
    cancel_login(stage.core, login_id=started.login.id, reader=ALICE)
    stage.telegram.scan(account["id"], url)
    assert len(stage.telegram.authorizations(account["id"])) == 1
    wait_for_the_last_word(stage)
    assert stage.telegram.authorizations(account["id"]) == []
    assert stage.leaving_keys() == []


def test_a_key_that_showed_no_qr_code_is_logged_out_once(stage: Stage) -> None:
    """No phone can accept anything for it: nothing is asked a second time, and nothing is kept."""
    account = stage.telegram.create_account(password="secret")
    started = stage.start(method="code", phone=f"+{account['phone']}")
    stage.wait_for(started.login.id, "code_required")
    cancel_login(stage.core, login_id=started.login.id, reader=ALICE)
    wait_until(lambda: stage.calls("auth.logOut") == 1 and stage.leaving_keys() == [])
    assert stage.telegram.authorizations(account["id"]) == []
