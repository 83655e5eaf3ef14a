"""Logins of accounts that live at another data centre."""

from __future__ import annotations

import time

import pytest

from app.logins.service import submit_password
from app.models import Login
from tests.logins.stage import ALICE, Stage
from tests.waiting import wait_until

LOCK_TIMEOUT_SECONDS = 11.0


@pytest.mark.parametrize("accept", ["next_export", "at_once"])
def test_import_follows_dc_migration(stage: Stage, accept: str) -> None:
    """loginTokenMigrateTo → a key at the new data centre → importLoginToken there → authorized there."""
    account = stage.telegram.create_account(dc_id=3, accept=accept)
    started = stage.start()
    stage.telegram.scan(account["id"], stage.wait_for_qr(started.login.id))
    stage.wait_for(started.login.id, "authorized")
    (session,) = stage.sessions()
    assert session.dc_id == 3
    assert stage.calls("auth.importLoginToken") == 1
    assert stage.violations() == {}


def test_migration_at_a_renewal_is_followed(fast_tokens: Stage) -> None:
    """Not only the first export may answer with a move."""
    stage = fast_tokens
    account = stage.telegram.create_account(dc_id=1)
    started = stage.start()
    first = stage.wait_for_qr(started.login.id)
    stage.telegram.scan(account["id"], stage.wait_for_qr(started.login.id, other_than=first))
    stage.wait_for(started.login.id, "authorized")


def test_a_password_is_asked_for_after_a_migration(stage: Stage) -> None:
    """2FA at the new data centre, where its parameters must be asked for."""
    account = stage.telegram.create_account(dc_id=3, password="secret", hint="usual")
    started = stage.start()
    stage.telegram.scan(account["id"], stage.wait_for_qr(started.login.id))
    stage.wait_for(started.login.id, "password_required")
    submit_password(stage.core, login_id=started.login.id, reader=ALICE, password="secret")
    stage.wait_for(started.login.id, "authorized")
    assert stage.sessions()[0].dc_id == 3


def test_a_token_that_dies_during_the_migration_is_exported_anew(stage: Stage) -> None:
    """The person scans once more, a code of the new data centre."""
    account = stage.telegram.create_account(dc_id=3)
    stage.telegram.add_fault(method="auth.importLoginToken", error="AUTH_TOKEN_EXPIRED", times=1)
    started = stage.start()
    first = stage.wait_for_qr(started.login.id)
    stage.telegram.scan(account["id"], first)
    second = stage.wait_for_qr(started.login.id, other_than=first)
    stage.telegram.scan(account["id"], second)
    stage.wait_for(started.login.id, "authorized")


def test_a_transient_unregistered_key_after_a_migration_is_not_believed(stage: Stage) -> None:
    """For 2 s after a migration AUTH_KEY_UNREGISTERED may be wrong."""
    account = stage.telegram.create_account(dc_id=3)
    stage.telegram.add_fault(method="users.getUsers", error="AUTH_KEY_UNREGISTERED", times=2)
    started = stage.start()
    stage.telegram.scan(account["id"], stage.wait_for_qr(started.login.id))
    stage.wait_for(started.login.id, "authorized")
    assert stage.calls("users.getUsers") == 3


def test_migrations_are_counted_by_what_was_answered_with_them(stage: Stage) -> None:
    """The metric tells them apart."""
    account = stage.telegram.create_account(dc_id=3)
    started = stage.start()
    stage.telegram.scan(account["id"], stage.wait_for_qr(started.login.id))
    stage.wait_for(started.login.id, "authorized")
    counted = stage.workers[0].core.registry.get_sample_value(
        "telethon_auth_qr_migrated_total", {"tenant_id": "alice", "call": "auth.importLoginToken"}
    )
    assert counted == 1


def test_a_move_that_cannot_be_written_down_loses_no_scan(stage: Stage) -> None:
    """The row cannot be written while the login moves: when it can be, the same scan completes it."""
    account = stage.telegram.create_account(dc_id=1, accept="at_once")
    started = stage.start()
    url = stage.wait_for_qr(started.login.id)
    with stage.core.transaction() as db:
        db.get_one(Login, started.login.id, with_for_update=True)
        stage.telegram.scan(account["id"], url)
        wait_until(lambda: stage.new("handshakes") == 2)
        time.sleep(LOCK_TIMEOUT_SECONDS)  # until the worker's write is told to come again
    login = stage.wait_for(started.login.id, "authorized", within_seconds=30)
    assert login.telegram_user_id == account["id"]
    assert len(stage.telegram.authorizations(account["id"])) == 1
    assert stage.violations() == {}
