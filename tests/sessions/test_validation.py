"""Validation: what Telegram's answers, and its silence, do to a session."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.clock import utc_now
from tests.sessions.stage import Stage


def test_a_living_session_is_refreshed_and_gets_its_next_turn(stage: Stage) -> None:
    """Names come from Telegram; the lease is free again; nothing but getUsers was called."""
    session_id = stage.connect(stage.account(first_name="Alicia", username="alicia"))
    before = stage.row(session_id)
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
    assert stage.violations() == {}


def test_a_validation_that_finds_nothing_new_is_no_reason_for_a_backup(stage: Stage) -> None:
    """The version grows with what a backup must hold, and not with every look."""
    session_id = stage.connect()
    stage.validate(session_id)
    version = stage.row(session_id).version
    stage.validate(session_id)
    assert stage.row(session_id).version == version


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("AUTH_KEY_UNREGISTERED", "auth_key_unregistered"),
        ("SESSION_REVOKED", "session_revoked"),
        ("SESSION_EXPIRED", "session_expired"),
        ("USER_DEACTIVATED", "user_deactivated"),
        ("USER_DEACTIVATED_BAN", "user_deactivated_ban"),
        ("AUTH_KEY_DUPLICATED", "auth_key_duplicated"),
    ],
)
def test_deaths_are_told_apart(stage: Stage, error: str, reason: str) -> None:
    """Each cause of death is the reason of an invalid session."""
    user_id = stage.account()
    session_id = stage.connect(user_id)
    stage.telegram.add_fault("users.getUsers", error=error, times=2, user_id=user_id)
    assert stage.validate(session_id) == {"invalid": 1}
    row = stage.row(session_id)
    assert (row.status, row.reason, row.next_validation_at, row.lease_id) == ("invalid", reason, None, None)
