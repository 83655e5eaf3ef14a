"""Sessions and leases through the client package, in both its forms, and the lease of a program without an event loop."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from app.clock import utc_now
from app.sessions.revocation import revoke_session
from app.tenants.keys import SCOPES, create_api_key
from latchkey_client import Conflict, InvalidRequest, Latchkey, LeaseLost, SessionLeased, SessionNotActive
from tests.client.doors import FORMS, open_door
from tests.client.served import ServedWeb
from tests.sessions.stage import Stage
from tests.waiting import wait_until


@pytest.fixture
def full_key(stage: Stage) -> str:
    """A key of Alice's that may do everything."""
    return create_api_key(stage.core.transaction, actor="test", tenant_id="alice", scopes=SCOPES).key


@pytest.fixture(params=FORMS)
def door(request: pytest.FixtureRequest, web: ServedWeb, full_key: str) -> Iterator[Latchkey]:
    """Latchkey as Alice's program reaches it, in one form and the other."""
    with open_door(request.param, web.url, full_key) as opened:
        yield opened


def test_sessions_are_listed_read_validated_and_revoked(door: Latchkey, stage: Stage) -> None:
    """Those of this tenant alone, page by page, and filtered."""
    session_ids = {stage.connect() for _ in range(3)}
    stage.connect(tenant="bob")
    first = door.sessions.list_page(limit=2)
    rest = door.sessions.list_page(limit=2, cursor=first.next_cursor)
    assert {each.id for each in first.data + rest.data} == session_ids
    assert rest.next_cursor is None
    assert {each.id for each in door.sessions.list_all(status="active")} == session_ids
    assert list(door.sessions.list_all(end_user_id="nobody")) == []

    session_id = session_ids.pop()
    assert door.sessions.read(session_id).status == "active"
    assert door.sessions.validate(session_id).id == session_id
    assert door.sessions.revoke(session_id).status == "revoking"
    assert door.sessions.revoke(session_id).status == "revoking"
    with pytest.raises(SessionNotActive):
        door.leases.acquire(session_id, holder="bot-1", ttl_seconds=60)


def test_a_session_is_imported_once(door: Latchkey, stage: Stage) -> None:
    """Quarantined until Telegram has answered; what is no string session is refused."""
    user_id, string_session = stage.logged_in()
    assert door.sessions.import_session(string_session, telegram_user_id=user_id).status == "quarantined"
    with pytest.raises(Conflict) as refused:
        door.sessions.import_session(string_session)
    assert refused.value.code == "session_exists"
    with pytest.raises(InvalidRequest):
        door.sessions.import_session("nonsense")


def test_what_a_holder_opened_is_revoked(door: Latchkey, stage: Stage) -> None:
    """After a leak: by holder and time; and not everything by mistake."""
    session_id, other = stage.connect(), stage.connect()
    stage.lease(session_id, holder="bot-1")
    assert door.sessions.revoke_opened(holder="bot-1", opened_since=utc_now() - timedelta(hours=1)).sessions == 1
    assert (door.sessions.read(session_id).status, door.sessions.read(other).status) == ("revoking", "active")
    with pytest.raises(InvalidRequest):
        door.sessions.revoke_opened()


def test_a_lease_call_by_call(door: Latchkey, stage: Stage) -> None:
    """For other MTProto libraries: acquired, refused to others, renewed, released, lost; the string is in no repr."""
    session_id = stage.connect()
    lease = door.leases.acquire(session_id, holder="bot-1", ttl_seconds=60, purpose="a test")
    assert lease.session_string not in repr(lease)
    assert (lease.fencing_token, lease.api_id) == (1, stage.settings.telegram_api_id)
    with pytest.raises(SessionLeased) as refused:
        door.leases.acquire(session_id, holder="bot-2", ttl_seconds=60)
    assert (refused.value.holder, refused.value.expires_at) == ("bot-1", lease.expires_at)
    renewed = door.leases.renew(session_id, lease.lease_id, ttl_seconds=600, healthy=True)
    assert renewed.expires_at > lease.expires_at
    door.leases.release(session_id, lease.lease_id, healthy=True)
    with pytest.raises(LeaseLost):
        door.leases.renew(session_id, lease.lease_id, ttl_seconds=60)


def test_a_program_without_an_event_loop_uses_a_session(stage: Stage, web: ServedWeb, full_key: str) -> None:
    """The client's methods block; the lease is released at the block's end."""
    user_id = stage.account(first_name="Alicia")
    session_id = stage.connect(user_id)
    with Latchkey(web.url, full_key) as latchkey, latchkey.lease(session_id, holder="script-1") as telegram:
        assert telegram.get_me().first_name == "Alicia"
        assert telegram.is_connected()
        assert stage.row(session_id).lease_holder == "script-1"
    row = stage.row(session_id)
    assert (row.lease_id, row.fencing_token) == (None, 1)
    assert stage.violations() == {}


def test_a_program_without_an_event_loop_hears_that_its_lease_is_lost(
    stage: Stage, web: ServedWeb, full_key: str
) -> None:
    """The client is disconnected, its next call fails, and the block leaves with LeaseLost."""
    session_id = stage.connect()
    latchkey = Latchkey(web.url, full_key, renew_seconds=0.3)

    def use() -> None:
        with latchkey.lease(session_id, ttl_seconds=60) as telegram:
            revoke_session(stage.core, tenant_id="alice", session_id=session_id, actor="test", reason="requested")
            wait_until(lambda: not telegram.is_connected(), within_seconds=10)
            telegram.get_me()

    with latchkey, pytest.raises(LeaseLost):
        use()
    assert stage.violations() == {}


def test_a_call_under_way_ends_when_the_lease_is_lost(stage: Stage, web: ServedWeb, full_key: str) -> None:
    """Telegram never answers it: whoever waits for the answer hears that the lease is lost."""
    session_id = stage.connect()
    latchkey = Latchkey(web.url, full_key, renew_seconds=0.3)

    def use() -> None:
        with latchkey.lease(session_id, ttl_seconds=60) as telegram:
            stage.fault(session_id, "users.getUsers", silent=True, times=1)
            revoke_session(stage.core, tenant_id="alice", session_id=session_id, actor="test", reason="requested")
            telegram.get_me()

    with latchkey, pytest.raises(LeaseLost):
        use()
    assert stage.row(session_id).status == "revoking"


def test_the_blocks_own_exception_comes_out(stage: Stage, web: ServedWeb, full_key: str) -> None:
    """And the lease is released."""
    session_id = stage.connect()
    with (
        Latchkey(web.url, full_key) as latchkey,
        pytest.raises(ZeroDivisionError),
        latchkey.lease(session_id, holder="script-1"),
    ):
        _ = 1 // 0
    assert stage.row(session_id).lease_id is None
