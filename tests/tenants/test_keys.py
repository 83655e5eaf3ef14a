"""API keys: what is stored, who authenticates, how use is noted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, update

from app.clock import utc_now
from app.core import Core
from app.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from app.models import ApiKey, AuditEvent
from app.tenants.keys import authenticate, create_api_key, list_api_keys, revoke_api_key
from app.tenants.store import create_tenant, disable_tenant, list_tenants


def last_used(core: Core, key_id: str) -> datetime | None:
    """When the key was last seen to be used."""
    with core.transaction() as db:
        return db.get_one(ApiKey, key_id).last_used_at


def test_a_key_authenticates_as_its_tenant_with_its_scopes(core: Core) -> None:
    """Whose it is and what it may do; a key that differs in one character is nobody's."""
    made = create_api_key(core.transaction, actor="test", tenant_id="alice", scopes=("audit", "logins"))
    caller = authenticate(core.read_row, core.transaction, key=made.key).caller
    assert (caller.tenant_id, caller.key_id, caller.scopes) == ("alice", made.id, frozenset({"logins", "audit"}))
    for wrong in (made.key[:-1], made.key + "x", "", "lk_"):
        with pytest.raises(Unauthenticated):
            authenticate(core.read_row, core.transaction, key=wrong)


def test_a_key_that_was_revoked_or_whose_tenant_is_disabled_is_nobodys(core: Core) -> None:
    """At once, and for both reasons with the same answer."""
    alice, bob = (
        create_api_key(core.transaction, actor="test", tenant_id=t, scopes=("audit",)) for t in ("alice", "bob")
    )
    revoke_api_key(core.transaction, actor="test", key_id=alice.id)
    disable_tenant(core.transaction, actor="test", tenant_id="bob")
    told = set()
    for key in (alice.key, bob.key, "lk_unknown"):
        with pytest.raises(Unauthenticated) as refused:
            authenticate(core.read_row, core.transaction, key=key)
        told.add(refused.value.detail)
    assert len(told) == 1


def test_use_is_noted_at_most_once_a_minute(core: Core) -> None:
    """The first use and one after a minute write; those between do not."""
    made = create_api_key(core.transaction, actor="test", tenant_id="alice", scopes=("audit",))
    assert last_used(core, made.id) is None
    authenticate(core.read_row, core.transaction, key=made.key)
    first = last_used(core, made.id)
    authenticate(core.read_row, core.transaction, key=made.key)
    assert last_used(core, made.id) == first
    with core.transaction() as db:
        db.execute(update(ApiKey).values(last_used_at=utc_now() - timedelta(seconds=61)))
    authenticate(core.read_row, core.transaction, key=made.key)
    assert first is not None
    noted = last_used(core, made.id)
    assert noted is not None
    assert noted >= first


def test_noting_use_waits_for_nobody(core: Core) -> None:
    """While another connection holds the key's row, authentication goes on without noting."""
    made = create_api_key(core.transaction, actor="test", tenant_id="alice", scopes=("audit",))
    with core.transaction() as db, ThreadPoolExecutor(1) as pool:
        db.execute(select(ApiKey).where(ApiKey.id == made.id).with_for_update())
        caller = pool.submit(authenticate, core.read_row, core.transaction, key=made.key).result(timeout=5).caller
    assert caller.key_id == made.id
    assert last_used(core, made.id) is None


def test_scopes_are_checked_and_ordered(core: Core) -> None:
    """An unknown scope, or none, is refused; order and repetition do not matter."""
    for scopes in ((), ("logins", "root")):
        with pytest.raises(InvalidInput):
            create_api_key(core.transaction, actor="test", tenant_id="alice", scopes=scopes)
    made = create_api_key(core.transaction, actor="test", tenant_id="alice", scopes=["admin", "logins", "admin"])
    assert made.scopes == ["logins", "admin"]


def test_a_key_needs_a_living_tenant(core: Core) -> None:
    """None for an unknown or a disabled one."""
    disable_tenant(core.transaction, actor="test", tenant_id="bob")
    with pytest.raises(NotFound):
        create_api_key(core.transaction, actor="test", tenant_id="charlie", scopes=("logins",))
    with pytest.raises(Conflict):
        create_api_key(core.transaction, actor="test", tenant_id="bob", scopes=("logins",))


def test_the_key_itself_is_stored_nowhere(core: Core) -> None:
    """Neither in its row nor in the audit."""
    made = create_api_key(core.transaction, actor="test", tenant_id="alice", scopes=("logins",))
    with core.transaction() as db:
        stored = [str(vars(row)) for row in (*db.scalars(select(ApiKey)), *db.scalars(select(AuditEvent)))]
    assert not any(made.key in row for row in stored)
    assert made.key not in str(list_api_keys(core.transaction, tenant_id="alice"))


def test_revoking_twice_keeps_the_first_time(core: Core) -> None:
    """It may be repeated; another tenant's key is not found."""
    made = create_api_key(core.transaction, actor="test", tenant_id="alice", scopes=("logins",))
    with pytest.raises(NotFound):
        revoke_api_key(core.transaction, actor="test", key_id=made.id, tenant_id="bob")
    first = revoke_api_key(core.transaction, actor="test", key_id=made.id, tenant_id="alice")
    assert revoke_api_key(core.transaction, actor="test", key_id=made.id) == first


def test_two_who_make_the_same_tenant_make_one(core: Core) -> None:
    """Of two at once one wins, the other is told."""

    def make(_: int) -> bool:
        try:
            create_tenant(core.transaction, actor="test", tenant_id="carol", name="Carol")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(make, range(4))) == 1
    assert [tenant.id for tenant in list_tenants(core.transaction)] == ["alice", "bob", "carol"]
