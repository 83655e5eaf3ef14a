"""Rewrapping: the same keys under another key encryption key, and nothing else touched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import boto3
import pytest
from sqlalchemy import select

from app.models import EncryptionKey, TelegramSession
from app.vault.kms import KmsKeyProvider
from app.vault.providers import KeyProviders
from app.vault.rewrapping import rewrap_keys
from app.vault.wrapping import KeyUnavailable
from tests.vault.vaults import Vault, add_sessions, make_local_provider, make_ring


def test_keys_move_from_a_file_to_kms(vault: Vault, aws_url: str) -> None:
    """Every key, active or old; what they sealed is not touched and opens with KMS alone."""
    strings = add_sessions(vault, 3)
    vault.keyring.replace_active(vault.keyring.active_key_id())
    vault.keyring.forget()
    strings |= add_sessions(vault, 2, telegram_user_id=None)
    before = _ciphertexts(vault)
    kms_key = boto3.client("kms", endpoint_url=aws_url, region_name="us-east-1").create_key()["KeyMetadata"]["Arn"]
    kms = KmsKeyProvider(kms_key_id=kms_key, endpoint_url=aws_url)
    moving = make_ring(vault.database_url, KeyProviders(kms, {"local": lambda: vault.provider}))
    rewrapped = rewrap_keys(transaction=vault.transaction, keyring=moving, actor="test")
    assert len(rewrapped) == 2
    assert rewrap_keys(transaction=vault.transaction, keyring=moving, actor="test") == []
    with vault.transaction() as db:
        assert {(key.provider, key.wrapping_key_id) for key in db.scalars(select(EncryptionKey))} == {
            ("aws-kms", kms_key)
        }
    assert _ciphertexts(vault) == before
    moved = replace(vault, provider=kms, keyring=make_ring(vault.database_url, kms))
    assert {session_id: moved.open_stored(session_id) for session_id in strings} == strings
    assert {event.subject for event in vault.events("key.rewrapped")} == set(rewrapped)


def test_a_key_that_does_not_unwrap_keeps_its_wrapping(vault: Vault, tmp_path: Path) -> None:
    """Without the old key encryption key nothing is overwritten."""
    vault.keyring.active_key_id()
    stranger = make_ring(vault.database_url, make_local_provider(tmp_path))
    with pytest.raises(KeyUnavailable):
        rewrap_keys(transaction=vault.transaction, keyring=stranger, actor="test")
    add_sessions(replace(vault, keyring=vault.another_process()), 1)


def _ciphertexts(vault: Vault) -> dict[str, bytes | None]:
    with vault.transaction() as db:
        return {row.id: row.session_sealed for row in db.scalars(select(TelegramSession))}
