"""Every route of the OpenAPI document, called with the key of another tenant: what is Alice's is not there for Bob."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import select

from app.core import Core
from app.models import Base
from app.tenants.keys import SCOPES
from tests.sessions.rows import give_session
from tests.web.callers import Caller, members, with_key

# What is not of a tenant's own things: it shows or changes the caller's own, and nothing of anybody else's.
OWN = {
    ("GET", "/v1/tenant"),
    ("PATCH", "/v1/tenant"),
    ("GET", "/v1/sessions"),
    ("POST", "/v1/sessions"),
    ("POST", "/v1/sessions/revoke"),
    ("POST", "/v1/logins"),
    ("GET", "/v1/webhooks"),
    ("POST", "/v1/webhooks"),
    ("GET", "/v1/audit"),
    ("GET", "/v1/events"),
}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/v1/logins/{login_id}/password"): {"password": "x"},
    ("POST", "/v1/logins/{login_id}/code"): {"code": "12345"},
    ("POST", "/v1/logins/{login_id}/method"): {"method": "code", "phone": "+4915112345678"},
    ("POST", "/v1/sessions/{session_id}/lease"): {"holder": "bob", "ttl_seconds": 60},
    ("PUT", "/v1/sessions/{session_id}/lease/{lease_id}"): {"ttl_seconds": 60},
    ("PATCH", "/v1/webhooks/{webhook_id}"): {"enabled": False},
    ("POST", "/v1/webhooks/{webhook_id}/replay"): {"since": "2026-01-01T00:00:00Z"},
    ("POST", "/v1/tenants"): {"name": "Carol"},
    ("POST", "/v1/tenants/{tenant_id}/api-keys"): {"scopes": ["audit"]},
}


@pytest.fixture
def alices(alice: Caller, core: Core) -> dict[str, str]:
    """One of each of Alice's things, by the name of its argument in paths."""
    session_id, _ = give_session(core)
    lease = members(alice.post(f"/v1/sessions/{session_id}/lease", {"holder": "bot-1", "ttl_seconds": 600}))
    webhook_id = members(alice.post("/v1/webhooks", {"url": "https://alice.example/hook"}))["id"]
    return {
        "login_id": alice.start_login()["id"],
        "session_id": session_id,
        "lease_id": lease["lease_id"],
        "webhook_id": webhook_id,
        "event_id": members(alice.post(f"/v1/webhooks/{webhook_id}/test"))["event_id"],
        "tenant_id": "alice",
        "key_id": alice.key_id,
    }


def test_no_route_shows_or_changes_what_is_another_tenants(alice: Caller, core: Core, alices: dict[str, str]) -> None:
    """404, or 403 where the scope is the operator's; and not a row of Alice's is another than before."""
    scopes = tuple(scope for scope in SCOPES if scope != "admin")
    bob = with_key(alice.client, core, tenant_id="bob", scopes=scopes)
    paths = members(alice.get("/openapi.json"))["paths"]
    routes = [(method.upper(), path) for path, operations in paths.items() for method in operations if "/v1/" in path]
    before = _rows_of_alice(core)
    called = 0
    for method, path in routes:
        if (method, path) in OWN:
            continue
        concrete = re.sub(r"\{(\w+)\}", lambda match: alices[match[1]], path)
        answer = bob.call(method, concrete, BODIES.get((method, path)))
        expected = {403} if path.startswith("/v1/tenants") else {404}
        if path == "/v1/logins/{login_id}/again":
            expected = {401}  # no API key serves there
        assert answer.status_code in expected, (method, path, answer.status_code, answer.text)
        assert all(name == "tenant_id" or value not in answer.text for name, value in alices.items()), (method, path)
        called += 1
    assert called > 30
    assert _rows_of_alice(core) == before


@pytest.mark.parametrize("path", ["/v1/sessions", "/v1/webhooks", "/v1/audit", "/v1/tenant"])
def test_no_list_names_what_is_another_tenants(bob: Caller, alices: dict[str, str], path: str) -> None:
    """Lists are of the caller's own."""
    answer = bob.get(path)
    assert answer.status_code == 200
    assert not any(value in answer.text for value in alices.values())


def _rows_of_alice(core: Core) -> dict[str, Any]:
    """Every row of Alice's but her keys', which say when they were used."""
    tables = [table for table in Base.metadata.sorted_tables if "tenant_id" in table.c and table.name != "api_keys"]
    with core.transaction() as db:
        return {
            table.name: sorted(map(repr, db.execute(select(table).where(table.c.tenant_id == "alice"))))
            for table in tables
        }
