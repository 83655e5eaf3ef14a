"""Rotation: everything ends under the new key, whoever writes, opens or dies meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from app.clock import utc_now
from app.identities import open_overrides
from app.logins.store import end_from_outside
from app.models import BackupObject, EncryptionKey, Login, TelegramSession, Tenant, WebhookEndpoint
from app.vault.places import LOGINS, session_place, webhook_secret_place
from app.vault.rotation import settle_states
from app.vault.sealing import Sealed
from app.vault.wrapping import KeyUnavailable
from tests.vault.vaults import (
    ALICE,
    BOB,
    Vault,
    add_login,
    add_sessions,
    add_webhook_endpoint,
    make_string_session,
    set_overrides,
)

NOW = timedelta(0)


def test_a_young_key_stays(vault: Vault) -> None:
    """Before ``max_age`` nothing happens; from then on the key is replaced."""
    first = vault.keyring.active_key_id()
    assert not vault.rotate(force=False).replaced
    report = vault.rotate(force=False, max_age=NOW)
    assert report.replaced
    assert vault.key_states() == {first: "retired", report.active_key_id: "active"}


def test_everything_sealed_ends_under_the_new_key(vault: Vault) -> None:
    """Sessions, finished logins, webhooks' and tenants' secrets; each opens to what it was; sessions are due for a backup."""
    strings = add_sessions(vault, 7, backed_up_version=1) | add_sessions(vault, 4, tenant_id=BOB)
    login, endpoint_id = add_login(vault, status="expired"), add_webhook_endpoint(vault)
    set_overrides(vault, BOB, api_id=4711, api_hash="the-api-hash", proxy="socks5://203.0.113.9:1080")
    steps: list[int] = []
    report = vault.rotate(batch_rows=3, on_progress=lambda progress: steps.append(progress.done))
    assert (report.resealed, report.left, report.broken) == (14, 0, [])
    assert steps == [0, 3, 6, 9, 11, 12, 12, 12, 13, 14, 14, 14]
    assert {session_id: vault.open_stored(session_id) for session_id in strings} == strings
    assert vault.open_login(login.id) == {name: name.encode() for name in LOGINS.purposes}
    with vault.transaction() as db:
        for model in (TelegramSession, Login, WebhookEndpoint):
            assert set(db.scalars(select(model.key_id))) == {report.active_key_id}
        assert set(db.scalars(select(TelegramSession.backed_up_version))) == {None}
        endpoint, tenant = db.get_one(WebhookEndpoint, endpoint_id), db.get_one(Tenant, BOB)
    assert tenant.key_id == report.active_key_id
    assert open_overrides(vault.keyring, tenant)["api_hash"] == "the-api-hash"
    sealed = Sealed(endpoint.key_id, endpoint.secret_sealed)
    assert vault.keyring.open(webhook_secret_place(ALICE, endpoint_id), sealed) == b"whsec_test"


def test_a_live_login_keeps_its_key_until_it_is_over(vault: Vault) -> None:
    """Its worker seals under the key id that it read; the key opens on and retires with the login."""
    login = add_login(vault, status="waiting_for_scan")
    report = vault.rotate()
    assert (report.left, report.retired) == (1, [])
    assert vault.key_states()[login.key_id or ""] == "retiring"
    with vault.transaction() as db:
        end_from_outside(db, login_id=login.id, status="authorized")
    assert vault.rotate(force=False).retired == [login.key_id]
    assert set(vault.open_login(login.id)) == {"client_secret_sealed"}


def test_an_auth_key_that_is_still_to_be_logged_out_is_resealed(vault: Vault) -> None:
    """It left its login as it was sealed, and opens under the new key in its place."""
    login = add_login(vault, status="waiting_for_scan")
    with vault.transaction() as db:
        end_from_outside(db, login_id=login.id, status="cancelled")
    report = vault.rotate()
    assert (report.left, report.retired) == (0, [login.key_id])
    assert vault.open_leaving_key(login.id) == b"auth_key_sealed"


def test_an_erased_row_needs_no_key(vault: Vault) -> None:
    """A revoked session or a login without secrets gives its key back."""
    add_sessions(vault, 1, session_sealed=None, status="revoked")
    erased: dict[str, Any] = dict.fromkeys(LOGINS.purposes)
    login = add_login(vault, status="expired", **erased)
    report = vault.rotate()
    assert (report.left, len(report.retired)) == (0, 1)
    with vault.transaction() as db:
        assert db.get_one(Login, login.id).key_id is None


def test_an_old_key_retires_only_when_nobody_can_take_it_for_active(vault: Vault) -> None:
    """Even if nothing refers to it, it opens on for ``retire_after``."""
    old = vault.keyring.active_key_id()
    assert vault.rotate(retire_after=timedelta(minutes=15)).retired == []
    with vault.transaction() as db:
        db.execute(update(EncryptionKey).values(state_changed_at=utc_now() - timedelta(minutes=16)))
    assert vault.rotate(force=False, retire_after=timedelta(minutes=15)).retired == [old]


def test_what_a_sleeper_sealed_under_a_retired_key_opens_and_is_resealed(vault: Vault) -> None:
    """A process that slept through the rotation seals under the retired key: nothing is lost, the next run mends it."""
    sleeper = vault.another_process()
    old = sleeper.active_key_id()
    assert vault.rotate().retired == [old]
    [(session_id, string)] = add_sessions(replace(vault, keyring=sleeper), 1).items()
    assert vault.open_stored(session_id) == string
    settle_states(vault.transaction, actor="test", retire_after=NOW)
    assert vault.key_states()[old] == "retiring"
    assert vault.rotate(force=False).retired == [old]
    assert vault.open_stored(session_id) == string


def test_a_backup_holds_its_key_back(vault: Vault) -> None:
    """A key is retired when no row and no unexpired backup refers to it."""
    old = vault.keyring.active_key_id()
    with vault.transaction() as db:
        db.add(
            BackupObject(
                object_key="b", session_id="ses_1", tenant_id=ALICE, version=1, key_id=old, backed_up_at=utc_now()
            )
        )
    assert vault.rotate().retired == []
    with vault.transaction() as db:
        db.delete(db.get_one(BackupObject, "b"))
    assert vault.rotate(force=False).retired == [old]


def test_a_broken_row_does_not_stop_the_others(vault: Vault) -> None:
    """It is reported, stays as it is and holds its key back."""
    strings = add_sessions(vault, 5)
    broken = sorted(strings)[2]
    with vault.transaction() as db:
        db.execute(update(TelegramSession).where(TelegramSession.id == broken).values(session_sealed=b"damaged"))
    report = vault.rotate(batch_rows=2)
    assert (report.resealed, report.left, report.broken, report.retired) == (4, 1, [broken], [])
    with vault.transaction() as db:
        assert db.get_one(TelegramSession, broken).session_sealed == b"damaged"


def test_a_key_that_is_away_does_not_stop_the_others(vault: Vault) -> None:
    """Its rows wait until it is back; those under other keys are re-sealed before the trouble is said."""
    stuck = set(add_sessions(vault, 2))
    away = vault.keyring.active_key_id()
    vault.keyring.replace_active(away)
    vault.keyring.forget()
    moved = set(add_sessions(vault, 2, tenant_id=BOB))
    with vault.transaction() as db:
        db.get_one(EncryptionKey, away).wrapping_key_id = "local-away"
    vault.keyring.forget()
    with pytest.raises(KeyUnavailable):
        vault.rotate()
    active = next(key_id for key_id, state in vault.key_states().items() if state == "active")
    with vault.transaction() as db:
        rows = db.scalars(select(TelegramSession)).all()
    assert {row.id for row in rows if row.key_id == active} == moved
    assert {row.id for row in rows if row.key_id == away} == stuck


def test_a_locked_row_is_left_for_the_next_run(vault: Vault) -> None:
    """Rotation never waits for a writer, and the writer's value is the one that is re-sealed."""
    strings = add_sessions(vault, 3)
    locked, replaced_by = sorted(strings)[0], make_string_session()
    with vault.transaction() as db, ThreadPoolExecutor(1) as another_worker:
        db.execute(select(TelegramSession).where(TelegramSession.id == locked).with_for_update())
        report = another_worker.submit(vault.rotate).result()
        assert (report.resealed, report.left) == (2, 1)
        place = session_place(ALICE, locked)
        sealed = another_worker.submit(vault.keyring.seal, place, replaced_by.encode()).result()
        db.execute(
            update(TelegramSession)
            .where(TelegramSession.id == locked)
            .values(key_id=sealed.key_id, session_sealed=sealed.ciphertext)
        )
    vault.rotate()
    assert vault.open_stored(locked) == replaced_by
