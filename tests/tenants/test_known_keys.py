"""Keys that a web process knows for a second: what it spares, and what a revoked key can still do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from app.clock import utc_now
from app.core import Core
from app.errors import Forbidden, Unauthenticated
from app.models import ApiKey
from app.tenants.keys import create_api_key, revoke_api_key
from app.tenants.known_keys import KNOWN_SECONDS, KnownKeys


class Looked:
    """A ``ReadRow`` that counts, and lets something happen between a look-up and its answer; and a clock."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.times = 0
        self.now = 0.0
        self.meanwhile: Callable[[], None] = lambda: None

    def __call__(self, statement: Any, key: str | bytes) -> Any:
        self.times += 1
        row = self.core.read_row(statement, key)
        self.meanwhile()
        return row


@pytest.fixture
def looked(core: Core) -> Looked:
    """What has been looked up."""
    return Looked(core)


@pytest.fixture
def keys(core: Core, looked: Looked) -> KnownKeys:
    """What a web process knows."""
    return KnownKeys(looked, core.transaction, monotonic=lambda: looked.now)


def make_key(core: Core, **fields: Any) -> tuple[str, str]:
    """A key of Alice's: its id and itself."""
    made = create_api_key(core.transaction, actor="test", tenant_id="alice", scopes=("logins",), **fields)
    return made.id, made.key


def test_a_key_is_looked_up_once_a_second(core: Core, looked: Looked, keys: KnownKeys) -> None:
    """However often it reads; a call that changes something looks it up itself."""
    key_id, key = make_key(core)
    assert {keys.recognise(key=key, address=None).key_id for _ in range(5)} == {key_id}
    assert looked.times == 1
    keys.look_up(key=key, address=None)
    assert looked.times == 2
    looked.now += KNOWN_SECONDS
    keys.recognise(key=key, address=None)
    assert looked.times == 3


def test_a_key_that_was_revoked_elsewhere_reads_for_a_second(core: Core, looked: Looked, keys: KnownKeys) -> None:
    """And does nothing else: no call that changes something goes by what is known."""
    key_id, key = make_key(core)
    keys.recognise(key=key, address=None)
    revoke_api_key(core.transaction, actor="test", key_id=key_id)
    assert keys.recognise(key=key, address=None).key_id == key_id
    with pytest.raises(Unauthenticated):
        keys.look_up(key=key, address=None)
    looked.now += KNOWN_SECONDS
    with pytest.raises(Unauthenticated):
        keys.recognise(key=key, address=None)


def test_what_is_forgotten_stays_forgotten(core: Core, looked: Looked, keys: KnownKeys) -> None:
    """A look-up that began before a revocation, and ends after it, leaves nothing known."""
    key_id, key = make_key(core)

    def revoke() -> None:
        looked.meanwhile = lambda: None
        revoke_api_key(core.transaction, actor="test", key_id=key_id)
        keys.forget()

    looked.meanwhile = revoke
    assert keys.recognise(key=key, address=None).key_id == key_id
    with pytest.raises(Unauthenticated):
        keys.recognise(key=key, address=None)


def test_an_address_is_looked_at_each_time(core: Core, keys: KnownKeys) -> None:
    """Known from a network that it may be used from, a key is refused from another."""
    _, key = make_key(core, networks=["192.0.2.0/24"])
    keys.recognise(key=key, address="192.0.2.1")
    with pytest.raises(Forbidden):
        keys.recognise(key=key, address="198.51.100.1")


def test_a_known_key_expires_in_time(core: Core, keys: KnownKeys) -> None:
    """Its end is known with it."""
    key_id, key = make_key(core)
    with core.transaction() as db:
        soon = utc_now() + timedelta(seconds=0.5)
        db.execute(update(ApiKey).where(ApiKey.id == key_id).values(expires_at=soon))
    keys.recognise(key=key, address=None)
    while utc_now() <= soon:
        pass
    with pytest.raises(Unauthenticated):
        keys.recognise(key=key, address=None)


def test_nobodys_keys_are_not_remembered(core: Core, looked: Looked, keys: KnownKeys) -> None:
    """Who guesses is looked up each time, and takes up no memory."""
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            keys.recognise(key="lk_unknown", address=None)
    assert looked.times == 3
