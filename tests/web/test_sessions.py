"""GET /v1/sessions and GET /v1/sessions/{id}."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.clock import utc_now
from app.core import Core
from app.models import TelegramSession
from tests.web.callers import Caller, members, problem


def add_session(core: Core, session_id: str, *, tenant_id: str = "alice", **columns: Any) -> None:
    """Put a session into the database."""
    defaults: dict[str, Any] = {"telegram_user_id": 42, "dc_id": 2, "status": "active"}
    with core.transaction() as db:
        db.add(TelegramSession(id=session_id, tenant_id=tenant_id, **(defaults | columns)))


def test_a_session_shows_what_the_contract_says(alice: Caller, core: Core) -> None:
    """Every member of the contract's Session, and nothing that opens it."""
    add_session(
        core,
        "ses_1",
        username="alice",
        first_name="Alice",
        phone_masked="+1•••4567",
        client_metadata={"order": "7"},
        lease_id="lse_1",
        lease_holder="worker-1",
        lease_expires_at=utc_now() + timedelta(minutes=5),
    )
    session = members(alice.get("/v1/sessions/ses_1"))
    assert set(session) == {
        *("id", "status", "reason", "telegram_user_id", "username", "first_name", "phone_masked", "dc_id", "key_id"),
        *("created_at", "last_validated_at", "next_validation_at", "backed_up_at", "lease", "metadata", "end_user_id"),
    }
    assert session["lease"]["holder"] == "worker-1"
    assert session["metadata"] == {"order": "7"}


def test_a_lease_that_ran_out_is_nobodys(alice: Caller, core: Core) -> None:
    """lease is null after its time."""
    past = utc_now() - timedelta(seconds=1)
    add_session(core, "ses_1", lease_id="lse_1", lease_holder="worker-1", lease_expires_at=past)
    assert members(alice.get("/v1/sessions/ses_1"))["lease"] is None


def test_pages_hold_every_session_once(alice: Caller, core: Core) -> None:
    """Following next_cursor yields each of the tenant's sessions exactly once."""
    for number in range(5):
        add_session(core, f"ses_{number}", telegram_user_id=number + 1)
    add_session(core, "ses_bob", tenant_id="bob")
    seen: list[str] = []
    path: str | None = "/v1/sessions?limit=2"
    while path is not None:
        page = members(alice.get(path))
        seen += [session["id"] for session in page["data"]]
        path = f"/v1/sessions?limit=2&cursor={page['next_cursor']}" if page["next_cursor"] else None
    assert seen == [f"ses_{number}" for number in range(5)]


def test_sessions_are_found_by_status_and_user(alice: Caller, core: Core) -> None:
    """The filters narrow the list."""
    add_session(core, "ses_1", telegram_user_id=1)
    add_session(core, "ses_2", telegram_user_id=2, status="revoked")
    found = [members(alice.get(f"/v1/sessions?{query}"))["data"] for query in ("status=revoked", "telegram_user_id=1")]
    assert [[session["id"] for session in data] for data in found] == [["ses_2"], ["ses_1"]]


@pytest.mark.parametrize("query", ["status=gone", "telegram_user_id=0", "limit=0", "limit=201", "cursor=%00", "page=2"])
def test_a_bad_query_is_named(alice: Caller, query: str) -> None:
    """422 with the parameter's name."""
    refused = problem(alice.get(f"/v1/sessions?{query}"), 422, "invalid_request")
    assert refused["errors"][0]["field"] == query.partition("=")[0]


def test_only_its_tenant_sees_a_session(
    alice: Caller, bob: Caller, charlie: Caller, nobody: Caller, core: Core
) -> None:
    """Another tenant's is 404 and in no list; no scope 403; no key, or a login's secret, 401."""
    add_session(core, "ses_1")
    problem(bob.get("/v1/sessions/ses_1"), 404, "not_found")
    assert members(bob.get("/v1/sessions"))["data"] == []
    for path in ("/v1/sessions", "/v1/sessions/ses_1"):
        problem(charlie.get(path), 403, "forbidden")
        problem(nobody.get(path), 401, "unauthenticated")
        problem(nobody.get(path, Login_Secret="ls_x"), 401, "unauthenticated")
