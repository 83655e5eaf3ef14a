"""Ghosts: dead logins of ours at Telegram that the database has forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from app.clock import utc_now
from app.sessions.ghosts import end_ghosts, is_due
from app.sessions.holding import hold_session, release_session
from app.sessions.visit import Visit
from app.telegram.errors import PasswordNeeded
from sandbox.process import RunningSandbox, start_sandbox
from tests.sessions.conftest import StageMaker
from tests.sessions.stage import Stage

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def grown_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    """A Telegram where no login is too fresh to end others."""
    with start_sandbox(tmp_path_factory.mktemp("grown-up"), fresh_seconds=0) as running:
        yield running


def in_two_hours() -> datetime:
    """When no login of today is under way any more."""
    return utc_now() + timedelta(hours=2)


def sweep(stage: Stage, session_id: str) -> int:
    """Look at a session's account, as the daily validation does."""
    held = hold_session(
        stage.core, session_id=session_id, holder="latchkey:validator", reason="test", statuses=("active",)
    )
    assert held is not None

    async def look() -> int:
        async with Visit(stage.core, stage.parts, held) as visit:
            return await end_ghosts(stage.core, stage.parts, visit, held, now=in_two_hours)

    try:
        return stage.parts.runtime.run(look(), timeout_seconds=30)
    finally:
        release_session(stage.core, held)


def pending(stage: Stage, user_id: int) -> list[bool]:
    """Of each authorization beside the phone's: whether it waits for its password."""
    return sorted(each["password_pending"] for each in stage.telegram.authorizations(user_id))


def test_dead_logins_of_ours_are_ended(make_stage: StageMaker, grown_up: RunningSandbox) -> None:
    """What waits for its password for hours, under our api_id and device, goes; the session itself and others' logins stay."""
    stage = make_stage(telegram=grown_up)
    user_id = stage.account(password="hunter2")
    with pytest.raises(PasswordNeeded):
        stage.authorize(user_id)
    with pytest.raises(PasswordNeeded):
        make_stage(telegram=grown_up, telegram_device_model="Another application").authorize(user_id)
    session_id = stage.keep(user_id, stage.authorize(user_id, password="hunter2"))
    assert pending(stage, user_id) == [False, True, True]
    assert sweep(stage, session_id) == 1
    assert pending(stage, user_id) == [False, True]
    assert ("session.ghosts_ended", stage.core.actor, "ghost sweep") in stage.audit(session_id)
    assert stage.violations() == {}


def test_a_fresh_session_leaves_it_for_another_day(stage: Stage) -> None:
    """Telegram lets no login of the last 24 h end others; the validation goes on all the same, and what nobody owns is told."""
    user_id = stage.account(password="hunter2")
    with pytest.raises(PasswordNeeded):
        stage.authorize(user_id)
    session_id = stage.keep(user_id, stage.authorize(user_id, password="hunter2"))
    stage.authorize(user_id, password="hunter2")
    assert sweep(stage, session_id) == 0
    assert pending(stage, user_id) == [False, False, True]
    assert "session.unclaimed_authorizations" in [action for action, _, _ in stage.audit(session_id)]
    assert stage.row(session_id).status == "active"


def test_an_authorization_that_nobody_accounts_for_is_told(make_stage: StageMaker, grown_up: RunningSandbox) -> None:
    """In the audit, and not ended: it may be another installation's. One of another tenant's session is accounted for."""
    stage = make_stage(telegram=grown_up)
    user_id = stage.account()
    session_id = stage.connect(user_id)
    stage.connect(user_id, tenant="bob")
    sweep(stage, session_id)
    assert "session.unclaimed_authorizations" not in [action for action, _, _ in stage.audit(session_id)]
    stage.authorize(user_id)
    sweep(stage, session_id)
    assert "session.unclaimed_authorizations" in [action for action, _, _ in stage.audit(session_id)]
    assert pending(stage, user_id) == [False, False, False]


def test_the_account_is_looked_at_once_a_day(stage: Stage) -> None:
    """With the first validation after the session's daily turn, and not with every one."""
    session_id = stage.connect()
    stage.change(session_id, last_validated_at=utc_now() - DAY)
    assert is_due(stage.row(session_id))
    assert stage.validate(session_id) == {"ok": 1}
    assert stage.calls("account.getAuthorizations") == 1
    assert not is_due(stage.row(session_id))
    stage.change(session_id, last_validated_at=utc_now())
    assert stage.validate(session_id) == {"ok": 1}
    assert stage.calls("account.getAuthorizations") == 1
