"""Validation: what Telegram's answers, and its silence, do to a session."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from telethon.tl.functions.users import GetUsersRequest
from telethon.tl.types import InputUserSelf

from app.clock import utc_now
from app.logins.service import Reader, read_login
from app.models import LoginLink
from app.sessions.holding import HoldLost, hold_session
from app.sessions.planning import VALIDATE_BATCH_TASK, plan_validations
from app.sessions.revocation import revoke_session
from app.sessions.visit import Visit
from app.telegram.calls import PACE_SECONDS
from app.vault.places import login_client_secret_place
from app.vault.sealing import Sealed
from tests.sessions.stage import Stage
from tests.waiting import wait_until

_CLOSING_SECONDS = 0.02
"""A pause begins with an answer; here it is seen when the connection is closed, a little later."""


def test_a_living_session_is_refreshed_and_gets_its_next_turn(stage: Stage) -> None:
    """Names come from Telegram; the lease is free again; nothing but getUsers was called, which introduces its connection."""
    session_id = stage.connect(stage.account(first_name="Alicia", username="alicia"))
    before, introductions = stage.row(session_id), stage.calls("help.getConfig")
    assert stage.validate(session_id) == {"ok": 1}
    row = stage.row(session_id)
    assert (row.status, row.first_name, row.username) == ("active", "Alicia", "alicia")
    assert row.lease_id is None
    assert row.last_validated_at is not None
    assert before.last_validated_at is not None
    assert row.last_validated_at > before.last_validated_at
    assert row.next_validation_at is not None
    assert utc_now() < row.next_validation_at <= utc_now() + timedelta(seconds=900)
    assert stage.calls("users.getUsers") == 1
    assert stage.calls("help.getConfig") == introductions
    assert stage.violations() == {}


def test_a_validation_that_finds_nothing_new_is_no_reason_for_a_backup(stage: Stage) -> None:
    """The version grows with what a backup must hold, and not with every look."""
    session_id = stage.connect()
    stage.validate(session_id)
    version = stage.row(session_id).version
    stage.validate(session_id)
    assert stage.row(session_id).version == version


def test_deaths_are_told_apart(stage: Stage) -> None:
    """Each cause of death is the reason of an invalid session."""
    causes = (
        "SESSION_REVOKED",
        "SESSION_EXPIRED",
        "USER_DEACTIVATED",
        "USER_DEACTIVATED_BAN",
        "AUTH_KEY_DUPLICATED",
    )
    sessions = {error: stage.connect() for error in causes}
    for error, session_id in sessions.items():
        stage.fault(session_id, "users.getUsers", error=error, times=2)
    assert stage.validate(*sessions.values()) == {"invalid": len(causes)}
    for error, session_id in sessions.items():
        row = stage.row(session_id)
        assert (row.status, row.reason) == ("invalid", error.lower())
        assert (row.next_validation_at, row.lease_id) == (None, None)


def test_an_unregistered_key_is_believed_only_when_heard_twice(stage: Stage) -> None:
    """For a second or two after a migration it can be wrong."""
    session_id = stage.connect()
    stage.fault(session_id, "users.getUsers", error="AUTH_KEY_UNREGISTERED", times=1)
    assert stage.validate(session_id) == {"ok": 1}
    assert stage.row(session_id).status == "active"
    assert stage.violations() == {}


def test_trouble_is_never_death(stage: Stage) -> None:
    """Flood waits, 5xx, refusals, a cut connection: nothing changes, the lease is free, the session's turn comes again."""
    troubles: dict[str, dict[str, object]] = {
        stage.connect(): {"error": "FLOOD_WAIT_17"},
        stage.connect(): {"error": "INTERNAL_SERVER_ERROR"},
        stage.connect(): {"drop_connection": True},
        stage.connect(): {"error": "FROZEN_METHOD_INVALID"},
        stage.connect(): {"error": "API_ID_INVALID"},
    }
    before = {session_id: stage.row(session_id) for session_id in troubles}
    for session_id, trouble in troubles.items():
        stage.fault(session_id, "users.getUsers", times=1, **trouble)
    assert stage.validate(*troubles) == {"flood_wait": 1, "unreachable": 2, "refused": 2}
    for session_id in troubles:
        row = stage.row(session_id)
        assert (row.status, row.reason, row.lease_id) == ("active", None, None)
        assert (row.version, row.last_validated_at) == (
            before[session_id].version,
            before[session_id].last_validated_at,
        )
        assert row.next_validation_at is not None
        assert row.next_validation_at > utc_now()


@pytest.mark.parametrize("mode", ["refuse", "accept_and_close"])
def test_a_telegram_that_is_away_kills_nobody(stage: Stage, mode: str) -> None:
    """And what comes after finds the session alive."""
    session_id = stage.connect()
    stage.telegram.network(mode, cut_all=True)
    assert stage.validate(session_id) == {"unreachable": 1}
    stage.telegram.network("ok")
    assert stage.validate(session_id) == {"ok": 1}


def test_a_silent_telegram_costs_ten_seconds_and_nobody(stage: Stage) -> None:
    """A connection that is accepted and never answered is given up."""
    session_id = stage.connect()
    stage.telegram.network("silent", cut_all=True)
    started = time.monotonic()
    assert stage.validate(session_id) == {"unreachable": 1}
    assert time.monotonic() - started < 15
    stage.telegram.network("ok")


def test_a_flood_wait_is_sat_out(stage: Stage) -> None:
    """The session's next turn is after the wait; asked before, no call goes out."""
    session_id = stage.connect()
    stage.fault(session_id, "users.getUsers", error="FLOOD_WAIT_100", times=1)
    assert stage.validate(session_id) == {"flood_wait": 1}
    again_at = stage.row(session_id).next_validation_at
    assert again_at is not None
    assert again_at > utc_now() + timedelta(seconds=99)
    calls = stage.calls("users.getUsers")
    assert stage.validate(session_id) == {"flood_wait": 1}
    assert stage.calls("users.getUsers") == calls
    assert stage.violations() == {}


def test_a_session_ended_from_the_phone_is_noticed(stage: Stage) -> None:
    """Invalid, with its cause, an audit row, and a webhook that carries a fresh login of the same user."""
    stage.listen()
    user_id = stage.account()
    session_id = stage.connect(user_id, order="17")
    stage.telegram.terminate(user_id)
    assert stage.validate(session_id) == {"invalid": 1}
    row = stage.row(session_id)
    assert row.status == "invalid"
    assert row.auth_key_hash is None
    ((event, payload),) = stage.events()
    assert event == "session.invalid"
    assert payload["session_id"] == session_id
    assert payload["telegram_user_id"] == user_id
    assert payload["reason"] == row.reason
    assert payload["metadata"] == {"order": "17"}
    assert payload["login_url"] == f"{stage.settings.public_url}/login/{payload['login_id']}"
    with stage.core.transaction() as db:
        link = db.get_one(LoginLink, payload["login_id"])
    secret = stage.core.keyring.open(
        login_client_secret_place("alice", link.id), Sealed(link.key_id, link.client_secret_sealed)
    )
    login = read_login(stage.core, login_id=link.id, reader=Reader(client_secret=secret.decode()))
    assert (login.status, login.telegram_user_id) == ("queued", user_id)
    assert (link.session_id, login.metadata) == (session_id, {}), "the session keeps its metadata; a page shows none"
    assert "session.invalid" in [action for action, _, _ in stage.audit(session_id)]


def test_nobody_listens_so_no_login_is_started(stage: Stage) -> None:
    """A login costs a worker ten minutes of waiting."""
    user_id = stage.account()
    session_id = stage.connect(user_id)
    stage.telegram.set_state(user_id, "banned")
    assert stage.validate(session_id) == {"invalid": 1}
    assert stage.row(session_id).reason == "user_deactivated_ban"
    assert stage.sent.tasks == []


def test_a_leased_session_is_left_alone(stage: Stage) -> None:
    """Nothing is sent to Telegram while somebody holds it, and the holder keeps it."""
    session_id = stage.connect()
    lease = stage.lease(session_id)
    assert stage.validate(session_id) == {}
    assert stage.row(session_id).lease_id == lease.lease_id
    assert stage.calls("users.getUsers") == 0


def test_a_batch_that_comes_twice_is_done_once(stage: Stage) -> None:
    """The ticket is gone: the second message, and one that is too old, do nothing."""
    session_id = stage.connect()
    stage.change(session_id, next_validation_at=utc_now())
    assert plan_validations(stage.core) == 1
    (task, ticket, *session_ids) = stage.sent.tasks[0]
    assert task == VALIDATE_BATCH_TASK
    assert stage.run_batch(ticket, session_ids) == {"ok": 1}
    assert stage.run_batch(ticket, session_ids) == {}
    assert stage.calls("users.getUsers") == 1


def test_a_session_that_does_not_open_spoils_no_batch(stage: Stage) -> None:
    """A broken seal is counted, keeps its session's place in the queue, and the others go on."""
    broken, whole = stage.connect(), stage.connect()
    stage.change(broken, session_sealed=stage.row(whole).session_sealed)
    assert stage.validate(broken, whole) == {"sealed": 1, "ok": 1}
    row = stage.row(broken)
    assert (row.status, row.lease_id) == ("active", None)
    assert stage.counted("sealed") == 1


def test_a_key_that_is_away_is_no_death(stage: Stage) -> None:
    """KMS denies the key for now: counted, and looked at again at the session's next turn; nothing else changes."""
    session_id = stage.connect()
    stage.lose_key(session_id)
    assert stage.validate(session_id) == {"sealed": 1}
    row = stage.row(session_id)
    assert (row.status, row.lease_id) == ("active", None)
    assert row.next_validation_at is not None
    assert row.next_validation_at > utc_now()


def test_a_revocation_that_begins_meanwhile_wins(stage: Stage) -> None:
    """The verdict of a validation under way is dropped, and its lease given up at once."""
    session_id = stage.connect()
    stage.telegram.add_fault("users.getUsers", delay_ms=1500, times=1)
    validating = threading.Thread(target=stage.validate, args=(session_id,))
    validating.start()
    wait_until(lambda: stage.row(session_id).lease_id)
    revoke_session(stage.core, tenant_id="alice", session_id=session_id, actor="test", reason="requested")
    validating.join(20)
    row = stage.row(session_id)
    assert (row.status, row.lease_id) == ("revoking", None)
    assert row.next_logout_at is not None
    assert row.next_logout_at <= utc_now() + timedelta(seconds=1)
    assert stage.log_out(session_id) == "done"
    assert stage.violations() == {}


def test_a_visit_pauses_before_its_first_call_and_between_connections(stage: Stage) -> None:
    """Its last holder may have called a moment ago, and a new connection's first request is a request like any other."""
    session_id = stage.connect()
    stage.change(session_id, next_validation_at=utc_now() + timedelta(seconds=60))
    held = hold_session(
        stage.core, session_id=session_id, holder="latchkey:validator", reason="test", statuses=("active",)
    )
    assert held is not None
    spent = []

    async def visit() -> None:
        began = time.monotonic()
        async with Visit(stage.core, stage.parts, held) as visit:
            for _ in range(2):
                await visit.call(GetUsersRequest([InputUserSelf()]))
                await visit.close()
                spent.append(time.monotonic() - began)
                began = time.monotonic()

    stage.parts.runtime.run(visit(), timeout_seconds=20)
    assert len(spent) == 2
    assert min(spent) >= PACE_SECONDS[0] - _CLOSING_SECONDS
    assert stage.violations() == {}


def test_a_process_that_slept_through_its_lease_sends_nothing(stage: Stage) -> None:
    """The lease's time is over by the clock that goes on in a stopped process: the visit ends before anything goes out."""
    session_id = stage.connect()
    stage.change(session_id, next_validation_at=utc_now() + timedelta(seconds=60))
    held = hold_session(
        stage.core, session_id=session_id, holder="latchkey:validator", reason="test", statuses=("active",)
    )
    assert held is not None
    late = replace(held, until=time.monotonic() - 1)

    async def visit() -> None:
        async with Visit(stage.core, stage.parts, late) as visit:
            await visit.call(GetUsersRequest([InputUserSelf()]))

    before = stage.calls("help.getConfig")
    with pytest.raises(HoldLost):
        stage.parts.runtime.run(visit(), timeout_seconds=10)
    assert stage.calls("users.getUsers") == 0
    assert stage.calls("help.getConfig") == before
