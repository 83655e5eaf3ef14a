"""Opening a session: tenant, audit, and nothing else."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from app.errors import Conflict, NotFound
from app.ids import new_id
from app.models import TelegramSession
from app.vault.opening import open_session, seal_session
from tests.vault.vaults import ALICE, BOB, Vault, add_sessions, make_string_session


def _open(vault: Vault, session_id: str, tenant_id: str = ALICE) -> str:
    with vault.transaction() as db:
        return open_session(
            db, keyring=vault.keyring, tenant_id=tenant_id, session_id=session_id, actor="api-key:key_1", reason="lease"
        )


def test_an_opening_leaves_an_audit_row(vault: Vault) -> None:
    """Who opened which session of whom, and why."""
    [(session_id, string)] = add_sessions(vault, 1).items()
    assert _open(vault, session_id) == string
    [event] = vault.events("session.opened")
    assert (event.tenant_id, event.actor, event.subject, event.reason) == (ALICE, "api-key:key_1", session_id, "lease")


def test_another_tenants_session_is_not_there(vault: Vault) -> None:
    """Bob cannot tell Alice's session from none."""
    [session_id] = add_sessions(vault, 1)
    for tenant_id, asked in ((BOB, session_id), (ALICE, "ses_unknown")):
        with pytest.raises(NotFound, match="no such session"):
            _open(vault, asked, tenant_id)
    assert vault.events("session.opened") == []


def test_an_erased_session_does_not_open(vault: Vault) -> None:
    """After revocation there is nothing left to open."""
    [session_id] = add_sessions(vault, 1)
    with vault.transaction() as db:
        db.execute(update(TelegramSession).values(session_sealed=None, key_id=None, status="revoked"))
    with pytest.raises(Conflict, match="erased") as raised:
        _open(vault, session_id)
    assert raised.value.code == "session_not_active"


def test_a_session_sealed_for_a_tenant_is_the_tenants(vault: Vault) -> None:
    """A row moved to another tenant does not open there."""
    session_id, string = new_id("ses"), make_string_session()
    sealed = seal_session(vault.keyring, tenant_id=ALICE, session_id=session_id, session_string=string)
    with vault.transaction() as db:
        db.add(
            TelegramSession(
                id=session_id,
                tenant_id=ALICE,
                dc_id=2,
                status="active",
                key_id=sealed.key_id,
                session_sealed=sealed.ciphertext,
            )
        )
    assert _open(vault, session_id) == string
    with vault.transaction() as db:
        db.execute(update(TelegramSession).values(tenant_id=BOB))
    with pytest.raises(Exception, match="does not open"):
        _open(vault, session_id, BOB)
