"""AUTH_KEY_UNREGISTERED is ambiguous: a session is asked again after 1, 5 and 15 minutes before it is given up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from app.clock import utc_now
from app.errors import Conflict
from app.redis_state import VALIDATOR_PAUSED_KEY
from app.sessions.leases import release_lease, renew_lease
from app.sessions.mass_death import MANY_DEATHS, SHARE_OF_DEATHS, note_answers, note_death
from app.sessions.planning import plan_validations, validate_soon
from tests.sessions.stage import Stage

MINUTES = (1, 5, 15)


def deny(stage: Stage, session_id: str) -> None:
    """Have Telegram deny the session's key at the next look: it is asked twice."""
    stage.fault(session_id, "users.getUsers", error="AUTH_KEY_UNREGISTERED", times=2)


def test_a_denied_session_is_asked_again_three_times_before_it_is_given_up(stage: Stage) -> None:
    """Quarantined meanwhile, so that nobody leases it; its tenant hears of the end only."""
    stage.listen()
    session_id = stage.connect()
    for minutes in MINUTES:
        deny(stage, session_id)
        assert stage.validate(session_id) == {"denied": 1}
        row = stage.row(session_id)
        assert (row.status, row.reason, row.lease_id) == ("quarantined", "auth_key_unregistered", None)
        assert row.next_validation_at is not None
        seconds = (row.next_validation_at - utc_now()).total_seconds()
        assert 60 * minutes - 5 < seconds <= 60 * minutes
        assert stage.events() == []
    deny(stage, session_id)
    assert stage.validate(session_id) == {"invalid": 1}
    row = stage.row(session_id)
    assert (row.status, row.reason) == ("invalid", "auth_key_unregistered")
    assert [event for event, _ in stage.events()] == ["session.invalid"]
    assert [action for action, _, _ in stage.audit(session_id)].count("session.quarantined") == 1


@pytest.mark.parametrize("denials", [1, 3])
def test_a_denied_session_that_answers_again_is_active(stage: Stage, denials: int) -> None:
    """The denials were wrong; the next one is a first one again."""
    session_id = stage.connect()
    for _ in range(denials):
        deny(stage, session_id)
        stage.validate(session_id)
    assert stage.validate(session_id) == {"ok": 1}
    row = stage.row(session_id)
    assert (row.status, row.reason, row.denials) == ("active", None, 0)
    assert "session.admitted" in [action for action, _, _ in stage.audit(session_id)]
    stage.lease(session_id)


def test_validate_brings_an_ambiguous_one_back(stage: Stage) -> None:
    """Given up, and alive all the same: asked once more, it is active. Still denied, it is invalid at once."""
    session_id = stage.connect()
    for _ in range(4):
        deny(stage, session_id)
        stage.validate(session_id)
    assert stage.row(session_id).status == "invalid"
    deny(stage, session_id)
    assert validate_soon(stage.core, tenant_id="alice", session_id=session_id).status == "quarantined"
    (_, ticket, *ids) = stage.sent.tasks[-1]
    assert stage.run_batch(ticket, ids) == {"invalid": 1}
    validate_soon(stage.core, tenant_id="alice", session_id=session_id)
    (_, ticket, *ids) = stage.sent.tasks[-1]
    assert stage.run_batch(ticket, ids) == {"ok": 1}
    row = stage.row(session_id)
    assert (row.status, row.reason) == ("active", None)
    assert row.auth_key_hash is not None


def test_a_final_death_is_not_brought_back(stage: Stage) -> None:
    """SESSION_REVOKED is no mistake: validate says that the session is not active."""
    session_id = stage.connect()
    stage.fault(session_id, "users.getUsers", error="SESSION_REVOKED", times=1)
    assert stage.validate(session_id) == {"invalid": 1}
    with pytest.raises(Conflict) as refused:
        validate_soon(stage.core, tenant_id="alice", session_id=session_id)
    assert refused.value.code == "session_not_active"


def test_asking_again_by_hand_hastens_no_end(stage: Stage) -> None:
    """A tenant that asks in a loop while Telegram is wrong for a minute does not kill its session within seconds."""
    session_id = stage.connect()
    deny(stage, session_id)
    assert stage.validate(session_id) == {"denied": 1}
    for _ in range(5):
        deny(stage, session_id)
        validate_soon(stage.core, tenant_id="alice", session_id=session_id)
        (_, ticket, *ids) = stage.sent.tasks[-1]
        assert stage.run_batch(ticket, ids) == {"denied": 1}
    row = stage.row(session_id)
    assert (row.status, row.denials) == ("quarantined", 1)
    assert row.next_validation_at is not None
    assert row.next_validation_at <= utc_now() + timedelta(seconds=60)


def test_being_asked_is_not_being_used(stage: Stage) -> None:
    """A session that was denied and answers again is as idle as before."""
    session_id = stage.connect()
    long_ago = utc_now() - timedelta(days=30)
    stage.change(session_id, last_used_at=long_ago)
    deny(stage, session_id)
    stage.validate(session_id)
    assert stage.validate(session_id) == {"ok": 1}
    assert stage.row(session_id).last_used_at == long_ago


def test_a_new_login_replaces_a_denied_session(stage: Stage) -> None:
    """The newest wins, as over an active one: no word later that this account is lost, and nobody is left logged in."""
    stage.listen()
    user_id = stage.account()
    older = stage.connect(user_id)
    deny(stage, older)
    assert stage.validate(older) == {"denied": 1}
    newer = stage.connect(user_id)
    row = stage.row(older)
    assert (row.status, row.logout_pending, row.next_validation_at) == ("replaced", True, None)
    assert [event for event, _ in stage.events()] == ["session.replaced"]
    assert stage.log_out(older) == "done"
    assert len(stage.telegram.authorizations(user_id)) == 1
    assert stage.row(newer).status == "active"


def test_one_that_comes_back_gives_way_to_a_newer_one(stage: Stage) -> None:
    """Given up, its user has logged in anew, and then it answers: never two active, and the older one is logged out."""
    user_id = stage.account()
    older = stage.connect(user_id)
    stage.change(older, status="invalid", reason="auth_key_unregistered", denials=3, auth_key_hash=None)
    newer = stage.connect(user_id)
    validate_soon(stage.core, tenant_id="alice", session_id=older)
    (_, ticket, *ids) = stage.sent.tasks[-1]
    assert stage.run_batch(ticket, ids) == {"duplicate": 1}
    assert stage.row(older).status == "replaced"
    assert stage.log_out(older) == "done"
    assert stage.validate(newer) == {"ok": 1}
    assert len(stage.telegram.authorizations(user_id)) == 1


def test_nobody_is_asked_to_log_in_who_has(stage: Stage) -> None:
    """An older session is asked about once more and denied: its user has an active one, so no login is started."""
    stage.listen()
    user_id = stage.account()
    older = stage.connect(user_id)
    stage.change(older, status="invalid", reason="auth_key_unregistered", denials=3, auth_key_hash=None)
    stage.connect(user_id)
    # The session, not the account: its user's other key is fine.
    stage.telegram.add_fault("users.getUsers", error="AUTH_KEY_UNREGISTERED", times=2, user_id=user_id)
    validate_soon(stage.core, tenant_id="alice", session_id=older)
    (_, ticket, *ids) = stage.sent.tasks[-1]
    assert stage.run_batch(ticket, ids) == {"invalid": 1}
    ((event, payload),) = stage.events()
    assert (event, payload["login_id"], payload["login_url"]) == ("session.invalid", None, None)


def test_many_deaths_at_once_make_the_validator_pause(stage: Stage) -> None:
    """It says so, plans nothing, and declares nobody dead until the pause is over; then it goes on."""
    session_ids = stage.connect_many(MANY_DEATHS + 1)
    for session_id in session_ids:
        deny(stage, session_id)
    outcomes = stage.validate(*session_ids)
    # Those that were counted just before the one that begins the pause may see it begun.
    assert 2 <= outcomes["paused"] <= MANY_DEATHS
    assert outcomes["denied"] == MANY_DEATHS + 1 - outcomes["paused"]
    assert [stage.row(each).status for each in session_ids].count("active") == outcomes["paused"]
    stage.change(session_ids[0], next_validation_at=utc_now() - timedelta(seconds=1))
    assert plan_validations(stage.core) == 0
    assert stage.core.registry.get_sample_value("telethon_validator_paused") == 1
    assert 0 < stage.core.redis.ttl(VALIDATOR_PAUSED_KEY) <= 300
    stage.core.redis.delete(VALIDATOR_PAUSED_KEY)
    assert plan_validations(stage.core) == 1
    assert stage.core.registry.get_sample_value("telethon_validator_paused") == 0


def let_many_die(stage: Stage) -> None:
    """As many other sessions as may die without a pause, just now."""
    for number in range(MANY_DEATHS - 1):
        assert note_death(stage.core, session_id=f"ses_{number}") is False


def test_many_deaths_among_very_many_sessions_are_no_reason_to_pause(stage: Stage) -> None:
    """A tenth of those that were asked must be dead: an installation of a million sessions loses some every minute."""
    let_many_die(stage)
    for _ in range(round(MANY_DEATHS / SHARE_OF_DEATHS)):
        stage.parts.runtime.run(note_answers(stage.parts.rounds, 1))
    session_id = stage.connect()
    deny(stage, session_id)
    assert stage.validate(session_id) == {"denied": 1}
    assert not stage.core.redis.exists(VALIDATOR_PAUSED_KEY)


def test_one_session_is_one_death(stage: Stage) -> None:
    """However often it is asked: nobody stops everybody's validation by asking for one dead session again and again."""
    for _ in range(2 * MANY_DEATHS):
        assert note_death(stage.core, session_id="ses_1") is False


def test_what_was_never_alive_here_is_no_death(stage: Stage) -> None:
    """A tenant that imports many dead strings does not stop everybody's validation."""
    let_many_die(stage)
    session_id = stage.connect()
    stage.change(session_id, status="quarantined", reason="imported")
    deny(stage, session_id)
    assert stage.validate(session_id) == {"invalid": 1}
    assert not stage.core.redis.exists(VALIDATOR_PAUSED_KEY)


def test_a_batch_under_way_stops_when_the_validator_pauses(stage: Stage) -> None:
    """No new visits: those that were planned before are due again, and only a look that somebody asked for goes on."""
    let_many_die(stage)
    first, *others = stage.connect_many(4)
    deny(stage, first)
    assert stage.validate(first, *others, at_once=1) == {"paused": 1}
    assert stage.calls("users.getUsers") == 2
    assert [stage.row(each).lease_id for each in others] == [None] * 3
    validate_soon(stage.core, tenant_id="alice", session_id=others[0])
    (_, ticket, *ids) = stage.sent.tasks[-1]
    assert stage.run_batch(ticket, ids) == {"ok": 1}


def test_the_pause_is_said_once(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Many deaths at the same moment begin one pause, and its time does not grow with them."""
    let_many_die(stage)
    with ThreadPoolExecutor(8) as pool:
        paused = list(pool.map(lambda number: note_death(stage.core, session_id=f"ses_more_{number}"), range(8)))
    assert paused == [True] * 8
    assert capsys.readouterr().out.count("validator.paused") == 1


def test_a_reported_death_survives_later_words_of_the_same_lease(stage: Stage) -> None:
    """healthy: false, then a renewal, a good word, and the release: the session is validated when the lease ends."""
    session_id = stage.connect()
    before = stage.row(session_id).last_validated_at
    lease = stage.lease(session_id)
    for healthy in (False, None, True):
        renew_lease(
            stage.core,
            tenant_id="alice",
            session_id=session_id,
            lease_id=lease.lease_id,
            ttl_seconds=60,
            healthy=healthy,
        )
    release_lease(stage.core, tenant_id="alice", session_id=session_id, lease_id=lease.lease_id, healthy=True)
    row = stage.row(session_id)
    assert row.last_validated_at == before
    assert row.next_validation_at is not None
    assert row.next_validation_at <= utc_now()
    assert plan_validations(stage.core) == 1
    assert stage.validate(session_id) == {"ok": 1}
    assert stage.row(session_id).reported_dead_at is None


def test_a_release_reports_the_health_of_a_short_lease(stage: Stage) -> None:
    """No renewal was due: false is validated now, true counts as a validation."""
    session_id = stage.connect()
    lease = stage.lease(session_id)
    release_lease(stage.core, tenant_id="alice", session_id=session_id, lease_id=lease.lease_id, healthy=False)
    assert (stage.row(session_id).next_validation_at or utc_now() + timedelta(days=1)) <= utc_now()
    assert stage.validate(session_id) == {"ok": 1}
    before = stage.row(session_id).last_validated_at
    lease = stage.lease(session_id)
    release_lease(stage.core, tenant_id="alice", session_id=session_id, lease_id=lease.lease_id, healthy=True)
    assert stage.row(session_id).last_validated_at != before
