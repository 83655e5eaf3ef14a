"""/v1/tenants, their API keys, and /v1/audit."""

from __future__ import annotations

import pytest

from app.core import Core
from app.models import ApiKey
from app.purging import purge_tenants
from app.vault.audit import record_event
from tests.web.callers import Caller, members, problem, with_key

ADMIN_ROUTES = [
    ("GET", "/v1/tenants"),
    ("POST", "/v1/tenants"),
    ("GET", "/v1/tenants/alice"),
    ("DELETE", "/v1/tenants/alice"),
    ("DELETE", "/v1/tenants/alice?purge=true"),
    ("GET", "/v1/tenants/alice/purge"),
    ("GET", "/v1/tenants/alice/api-keys"),
    ("POST", "/v1/tenants/alice/api-keys"),
    ("DELETE", "/v1/tenants/alice/api-keys/key_x"),
]


@pytest.mark.parametrize(("method", "path"), ADMIN_ROUTES)
def test_tenants_need_the_admin_scope(
    alice: Caller, charlie: Caller, nobody: Caller, core: Core, method: str, path: str
) -> None:
    """Every scope but admin is not enough, not even for the own tenant."""
    plain = with_key(alice.client, core, tenant_id="alice", scopes=("logins", "sessions:read", "audit"))
    for caller in (plain, charlie):
        problem(caller.call(method, path), 403, "forbidden")
    problem(nobody.call(method, path), 401, "unauthenticated")


def test_a_tenant_is_made_listed_and_disabled(alice: Caller) -> None:
    """201, then in the list, then disabled and still in the list."""
    made = alice.post("/v1/tenants", {"id": "carol-1", "name": "Carol"})
    assert (made.status_code, members(made)["disabled_at"]) == (201, None)
    problem(alice.post("/v1/tenants", {"id": "carol-1", "name": "Again"}), 409, "tenant_exists")
    assert {tenant["id"] for tenant in members(alice.get("/v1/tenants"))["data"]} == {"alice", "bob", "carol-1"}
    disabled = members(alice.delete("/v1/tenants/carol-1"))
    assert disabled["disabled_at"] is not None
    assert members(alice.delete("/v1/tenants/carol-1")) == disabled
    told = members(alice.get("/v1/tenants/carol-1"))
    assert {name: told[name] for name in disabled} == disabled
    problem(alice.post("/v1/tenants/carol-1/api-keys", {"scopes": ["logins"]}), 409, "tenant_disabled")
    problem(alice.get("/v1/tenants/nobody"), 404, "not_found")


def test_a_tenant_is_purged_with_a_report(alice: Caller, core: Core) -> None:
    """202 with the purge as it stands; the report outlives the tenant."""
    problem(alice.get("/v1/tenants/bob/purge"), 404, "not_found")
    problem(alice.delete("/v1/tenants/nobody?purge=true"), 404, "not_found")
    problem(alice.delete("/v1/tenants/bob?purge=perhaps"), 422, "invalid_request")
    answer = alice.delete("/v1/tenants/bob?purge=true")
    assert (answer.status_code, members(answer)["state"]) == (202, "purging")
    assert members(alice.get("/v1/tenants/bob"))["disabled_at"] is not None
    purge_tenants(core, None)
    report = members(alice.get("/v1/tenants/bob/purge"))
    assert report["state"] == "purged"
    problem(alice.get("/v1/tenants/bob"), 404, "not_found")
    again = alice.delete("/v1/tenants/bob?purge=true")
    assert (again.status_code, members(again)) == (202, report)


def test_null_changes_nothing_of_an_api_key_but_its_expiry(alice: Caller, core: Core) -> None:
    """A null name or null networks stay what they are; a null expires_at is never."""
    made = members(
        alice.post("/v1/tenants/bob/api-keys", {"scopes": ["audit"], "name": "x", "networks": ["10.0.0.0/8"]})
    )
    path = f"/v1/tenants/bob/api-keys/{made['id']}"
    assert alice.call("PATCH", path, {"expires_at": "2999-01-01T00:00:00Z"}).status_code == 200
    changed = alice.call("PATCH", path, {"name": None, "networks": None, "expires_at": None})
    assert changed.status_code == 200, changed.text
    told = members(changed)
    assert (told["name"], told["networks"], told["expires_at"]) == ("x", ["10.0.0.0/8"], None)
    problem(alice.call("PATCH", path, {"expires_at": 32503680000}), 422, "invalid_request")


def test_an_id_is_made_up_when_none_is_given(alice: Caller) -> None:
    """A tenant needs only a name."""
    assert members(alice.post("/v1/tenants", {"name": "Carol"}))["id"].startswith("tnt_")


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"id": "Big", "name": "x"}, {"id": "a b", "name": "x"}, {"name": "x", "plan": "gold"}]
)
def test_a_bad_tenant_is_refused(alice: Caller, body: dict[str, object]) -> None:
    """422."""
    problem(alice.post("/v1/tenants", body), 422, "invalid_request")


def test_a_disabled_tenants_keys_stop_working(alice: Caller, bob: Caller) -> None:
    """401 from the next call on."""
    assert bob.get("/v1/sessions").status_code == 200
    alice.delete("/v1/tenants/bob")
    problem(bob.get("/v1/sessions"), 401, "unauthenticated")


def test_a_key_is_shown_once_and_stored_hashed(alice: Caller, core: Core) -> None:
    """The key works, is in no list and in no column."""
    made = members(alice.post("/v1/tenants/bob/api-keys", {"scopes": ["sessions:read"], "name": "ci"}))
    key = made["key"]
    assert key.startswith("lk_")
    assert Caller(alice.client, "bob", {"Authorization": f"Bearer {key}"}).get("/v1/sessions").status_code == 200
    listed = alice.get("/v1/tenants/bob/api-keys")
    assert key not in listed.text
    [row] = [row for row in members(listed)["data"] if row["id"] == made["id"]]
    assert (row["name"], row["scopes"], row["key_prefix"]) == ("ci", ["sessions:read"], key[:9])
    assert row["last_used_at"] is not None
    with core.transaction() as db:
        stored = db.get_one(ApiKey, made["id"])
    assert key.encode() not in stored.key_hash


def test_a_revoked_key_stops_working(alice: Caller, bob: Caller) -> None:
    """401 from the next call on; a key of another tenant is not found under this one."""
    problem(alice.delete(f"/v1/tenants/alice/api-keys/{bob.key_id}"), 404, "not_found")
    assert bob.get("/v1/sessions").status_code == 200
    revoked = members(alice.delete(f"/v1/tenants/bob/api-keys/{bob.key_id}"))
    assert revoked["revoked_at"] is not None
    problem(bob.get("/v1/sessions"), 401, "unauthenticated")


@pytest.mark.parametrize("body", [{}, {"scopes": []}, {"scopes": ["root"]}, {"scopes": "logins"}])
def test_a_bad_key_is_refused(alice: Caller, body: dict[str, object]) -> None:
    """422."""
    problem(alice.post("/v1/tenants/bob/api-keys", body), 422, "invalid_request")
    problem(alice.post("/v1/tenants/nobody/api-keys", {"scopes": ["logins"]}), 404, "not_found")


def test_the_audit_tells_who_did_what(alice: Caller, bob: Caller, charlie: Caller, core: Core) -> None:
    """Newest first, in pages, one tenant's only, for the scope audit."""
    with core.transaction() as db:
        for number in range(3):
            record_event(db, tenant_id="alice", actor="test", action="session.opened", subject=f"ses_{number}")
    first = members(alice.get("/v1/audit?limit=2"))
    assert [event["subject"] for event in first["data"]] == ["ses_2", "ses_1"]
    assert all(event["id"].startswith("aud_") for event in first["data"])
    second = members(alice.get(f"/v1/audit?limit=2&cursor={first['next_cursor']}"))
    assert second["data"][0]["subject"] == "ses_0"
    subjects = {event["subject"] for event in members(bob.get("/v1/audit"))["data"]}
    assert subjects == {"bob", bob.key_id}
    problem(charlie.get("/v1/audit"), 403, "forbidden")
    problem(alice.get("/v1/audit?cursor=x"), 422, "invalid_request")


def test_what_an_admin_does_is_audited(alice: Caller, bob: Caller) -> None:
    """The audit of the tenant that it was done to names the key that did it."""
    alice.delete(f"/v1/tenants/bob/api-keys/{bob.key_id}")
    made = members(alice.post("/v1/tenants/bob/api-keys", {"scopes": ["audit"]}))
    reader = Caller(alice.client, "bob", {"Authorization": f"Bearer {made['key']}"})
    events = members(reader.get("/v1/audit"))["data"]
    assert [(event["action"], event["actor"]) for event in events[:2]] == [
        ("api_key.created", f"api-key:{alice.key_id}"),
        ("api_key.revoked", f"api-key:{alice.key_id}"),
    ]
