"""Destroying a key: only what nothing needs, and then for good."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, update
from sqlalchemy.exc import IntegrityError

from app.clock import utc_now
from app.errors import Conflict, NotFound, SealBroken
from app.models import BackupObject, EncryptionKey, TelegramSession
from app.vault.destruction import destroy_key
from app.vault.sealing import Place
from tests.vault.vaults import ALICE, Vault, add_login, add_sessions


def _destroy(vault: Vault, key_id: str) -> None:
    destroy_key(transaction=vault.transaction, key_id=key_id, actor="cli:alice", reason="test")


def test_a_needed_key_is_not_destroyed(vault: Vault) -> None:
    """The sentence says what needs it and what to do."""
    add_sessions(vault, 2)
    key_id = vault.keyring.active_key_id()
    add_login(vault)
    with pytest.raises(Conflict, match="needed by 2 sessions and 1 login; keys rotate") as raised:
        _destroy(vault, key_id)
    assert raised.value.code == "key_needed"


def test_a_key_is_not_destroyed_before_it_is_retired(vault: Vault) -> None:
    """Even if nothing needs it: somebody may be about to seal under it."""
    key_id = vault.keyring.active_key_id()
    with pytest.raises(Conflict, match="active"):
        _destroy(vault, key_id)


def test_a_backup_keeps_its_key_from_being_destroyed(vault: Vault) -> None:
    """Until it expires."""
    key_id = vault.keyring.active_key_id()
    vault.rotate()
    with vault.transaction() as db:
        db.add(
            BackupObject(
                object_key="b", session_id="ses_1", tenant_id=ALICE, version=1, key_id=key_id, backed_up_at=utc_now()
            )
        )
    with pytest.raises(Conflict, match="needed by 1 backup; they expire"):
        _destroy(vault, key_id)
    with vault.transaction() as db:
        db.execute(delete(BackupObject))
    _destroy(vault, key_id)


def test_a_destroyed_key_is_gone(vault: Vault) -> None:
    """Its wrapped key is erased, nothing opens or is stored under it, and the audit says who did it."""
    place = Place("session", ALICE, "ses_1")
    sealed = vault.keyring.seal(place, b"secret")
    vault.rotate()
    _destroy(vault, sealed.key_id)
    with vault.transaction() as db:
        key = db.get_one(EncryptionKey, sealed.key_id)
    assert (key.state, key.wrapped_key) == ("destroyed", None)
    with pytest.raises(SealBroken, match="destroyed"):
        vault.another_process().open(place, sealed)
    [event] = vault.events("key.destroyed")
    assert (event.actor, event.subject) == ("cli:alice", sealed.key_id)
    with pytest.raises(Conflict, match="destroyed before"):
        _destroy(vault, sealed.key_id)
    [session_id] = add_sessions(vault, 1)
    with pytest.raises(IntegrityError, match="is not present"), vault.transaction() as db:
        db.execute(update(TelegramSession).where(TelegramSession.id == session_id).values(key_id=sealed.key_id))


def test_a_row_that_comes_in_between_wins(vault: Vault) -> None:
    """PostgreSQL itself refuses to destroy a key that a row refers to, whoever counted what."""
    add_sessions(vault, 1)
    with pytest.raises(IntegrityError, match="still referenced"), vault.transaction() as db:
        db.execute(update(EncryptionKey).values(state="destroyed", wrapped_key=None))


def test_there_is_nothing_to_destroy_under_an_unknown_id(vault: Vault) -> None:
    """A typing mistake is said."""
    with pytest.raises(NotFound, match="key_unknown"):
        _destroy(vault, "key_unknown")
