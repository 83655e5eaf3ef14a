"""AUTH_KEY_UNREGISTERED is ambiguous: a session is asked again after 1, 5 and 15 minutes before it is given up."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.clock import utc_now
from app.redis_state import VALIDATOR_PAUSED_KEY
from app.sessions.leases import release_lease, renew_lease
from app.sessions.mass_death import MANY_DEATHS
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
    with pytest.raises(Exception, match="cannot be used"):
        validate_soon(stage.core, tenant_id="alice", session_id=session_id)


def test_many_deaths_at_once_make_the_validator_pause(stage: Stage) -> None:
    """It says so, plans nothing, and declares nobody dead until the pause is over; then it goes on."""
    session_ids = stage.connect_many(MANY_DEATHS + 1)
    for session_id in session_ids:
        deny(stage, session_id)
    outcomes = stage.validate(*session_ids)
    assert outcomes["denied"] == MANY_DEATHS - 1
    assert outcomes["paused"] == 2
    assert [stage.row(each).status for each in session_ids].count("active") == 2
    stage.change(session_ids[0], next_validation_at=utc_now() - timedelta(seconds=1))
    assert plan_validations(stage.core) == 0
    assert stage.core.registry.get_sample_value("telethon_validator_paused") == 1
    assert 0 < stage.core.redis.ttl(VALIDATOR_PAUSED_KEY) <= 300
    stage.core.redis.delete(VALIDATOR_PAUSED_KEY)
    assert plan_validations(stage.core) == 1
    assert stage.core.registry.get_sample_value("telethon_validator_paused") == 0


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
