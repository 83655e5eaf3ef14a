"""``one_transaction``: the transactions of a block are committed together, or not."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from app.core import Core
from app.database import after_commit, in_transaction, one_transaction
from app.models import Tenant


def names(core: Core) -> set[str]:
    """Of all tenants."""
    with core.transaction() as db:
        return set(db.scalars(select(Tenant.id)))


def add(core: Core, tenant_id: str) -> None:
    """Add a tenant in a transaction."""
    with core.transaction() as db:
        db.add(Tenant(id=tenant_id, name=tenant_id))


def test_what_a_block_commits_is_committed_with_it(core: Core) -> None:
    """Seen by the block's own transactions at once, by everybody at its end; then is told what waited for it."""
    told: list[set[str]] = []
    with one_transaction(core.engine):
        add(core, "carol")
        add(core, "dave")
        assert in_transaction()
        assert {"carol", "dave"} <= names(core)
        assert after_commit(lambda: told.append(names(core)))
        assert told == []
    assert told == [{"alice", "bob", "carol", "dave"}]
    assert not after_commit(lambda: told.append(set()))
    assert not in_transaction()


def test_a_block_that_fails_leaves_nothing(core: Core) -> None:
    """Neither rows nor what was to be told of them."""
    told: list[str] = []

    def fail() -> None:
        with one_transaction(core.engine):
            add(core, "carol")
            after_commit(lambda: told.append("carol"))
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert (names(core), told) == ({"alice", "bob"}, [])


def test_a_transaction_that_fails_takes_nothing_else_along(core: Core) -> None:
    """As between transactions of their own: whoever catches the error goes on."""

    def fail() -> None:
        with core.transaction() as db:
            db.add(Tenant(id="dave", name="dave"))
            db.flush()
            raise LookupError

    with one_transaction(core.engine):
        add(core, "carol")
        with pytest.raises(LookupError):
            fail()
        add(core, "erin")
    assert names(core) == {"alice", "bob", "carol", "erin"}
