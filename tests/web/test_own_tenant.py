"""GET, PATCH /v1/tenant and /v1/tenants/{id}: who a tenant is to Telegram, what it keeps secret, who may change what."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from app.core import Core
from app.identities import seal_what_is_open, tenant_identity
from app.models import AuditEvent, Tenant
from tests.web.callers import Caller, members, problem, with_key
from tests.web.conftest import MakeClient
from web.parts import Parts

HASH, PROXY = "fedcba9876543210fedcba9876543210", "socks5://alice:hunter2@203.0.113.9:1080"
IDENTITY = {
    "api_id": 4711,
    "api_hash": HASH,
    "device_model": "Acme CRM",
    "system_version": "1.0",
    "app_version": "2.0",
    "proxy": PROXY,
}


def patch(caller: Caller, changes: object, path: str = "/v1/tenant") -> dict[str, Any]:
    """Change a tenant, which must be taken."""
    answer = caller.call("PATCH", path, changes)
    assert answer.status_code == 200, answer.text
    return members(answer)


def row(core: Core, tenant_id: str = "alice") -> Tenant:
    """A tenant's row."""
    with core.transaction() as db:
        return db.get_one(Tenant, tenant_id)


def test_who_a_tenant_is_to_telegram_is_its_own_to_say(alice: Caller, bob: Caller, core: Core) -> None:
    """What was set is shown but for the secrets, of which it says whether there are any; logins to come go by it."""
    before = members(alice.get("/v1/tenant"))
    assert (before["api_id"], before["api_hash_set"], before["proxy_set"]) == (None, False, False)
    changed = patch(alice, IDENTITY)
    told = members(alice.get("/v1/tenant"))
    assert changed == told
    assert {name: told[name] for name in IDENTITY if name in told} == {
        name: value for name, value in IDENTITY.items() if name not in {"api_hash", "proxy"}
    }
    assert (told["api_hash_set"], told["proxy_set"]) == (True, True)
    identity = tenant_identity(core.settings, core.keyring, row(core))
    assert (identity.api_id, identity.api_hash, identity.device_model) == (4711, HASH, "Acme CRM")
    assert identity.proxy == PROXY
    assert members(bob.get("/v1/tenant"))["api_id"] is None


def test_the_secrets_are_stored_sealed_only(alice: Caller, core: Core) -> None:
    """Neither the row nor the audit has them in the open, nor does any answer."""
    answers = [alice.call("PATCH", "/v1/tenant", IDENTITY).text, alice.get("/v1/tenant").text]
    answers += [alice.get("/v1/tenants/alice").text, alice.get("/v1/tenants").text, alice.get("/v1/audit").text]
    with core.transaction() as db:
        stored = str(db.execute(text("SELECT t::text FROM tenants t")).scalars().all())
        (event,) = db.query(AuditEvent).filter_by(action="tenant.changed")
    assert event.details == {"changed": sorted(IDENTITY)}
    for secret in (HASH, "hunter2"):
        assert secret not in "".join(answers) + stored


def test_null_goes_back_to_the_installations_own(alice: Caller, core: Core) -> None:
    """What is left out stays, null is taken back; without secrets no key is needed."""
    patch(alice, IDENTITY)
    assert patch(alice, {"proxy": None})["proxy_set"] is False
    assert row(core).api_hash_sealed is not None
    told = patch(alice, {"api_id": None, "api_hash": None, "device_model": None})
    assert (told["api_id"], told["api_hash_set"], told["device_model"]) == (None, False, None)
    assert told["app_version"] == "2.0"
    assert row(core).key_id is None
    assert tenant_identity(core.settings, core.keyring, row(core)).api_id == core.settings.telegram_api_id


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"api_id": 4711}, "api_hash"),
        ({"api_hash": HASH}, "api_hash"),
        ({"api_id": None, "api_hash": HASH}, "api_hash"),
        ({"api_id": 0, "api_hash": HASH}, "api_id"),
        ({"api_id": "4711", "api_hash": HASH}, "api_id"),
        ({"api_id": 4711, "api_hash": "two words"}, "api_hash"),
        ({"proxy": "ftp://203.0.113.9:1"}, "proxy"),
        ({"proxy": "socks5://u:hunter2@203.0.113.9"}, "proxy"),
        ({"device_model": ""}, "device_model"),
        ({"device_model": "a\0"}, "device_model"),
        ({"limits": {"logins_per_minute": 1000}}, "limits"),
        ({"session_max_idle_days": 3}, "session_max_idle_days"),
    ],
)
def test_a_senseless_identity_is_refused(alice: Caller, changes: dict[str, Any], field: str) -> None:
    """422 with the field, and without what it says; api_id and api_hash come together."""
    refused = problem(alice.call("PATCH", "/v1/tenant", changes), 422, "invalid_request")
    assert [error["field"] for error in refused["errors"]] == [field]
    assert HASH not in str(refused)
    assert "hunter2" not in str(refused)


@pytest.mark.parametrize(
    ("scope", "may"),
    [
        ("webhooks", {"name": "Alice & Co", "brand": {}, "redirect_urls": [], "origins": []}),
        ("identity", {"api_id": 4711, "api_hash": HASH, "device_model": "Acme", "system_version": "1"}),
        ("admin", {"proxy": PROXY}),
    ],
)
def test_each_setting_needs_its_scope(
    web: tuple[FlaskClient, Parts], core: Core, scope: str, may: dict[str, Any]
) -> None:
    """A key with one scope changes what that is for, and nothing else; any key may read."""
    caller = with_key(web[0], core, tenant_id="alice", scopes=(scope,))
    assert caller.get("/v1/tenant").status_code == 200
    patch(caller, may)
    others: dict[str, Any] = {"origins": [], "app_version": "3", "proxy": None}
    for name, value in others.items():
        if name not in may and not (scope == "identity" and name == "app_version"):
            problem(caller.call("PATCH", "/v1/tenant", may | {name: value}), 403, "forbidden")


def test_whoever_runs_the_installation_sets_the_same(alice: Caller, bob: Caller, charlie: Caller, core: Core) -> None:
    """PATCH /v1/tenants/{id} takes all that the tenant itself may set, and how long its sessions may be unused."""
    changes = IDENTITY | {"name": "Bob & Co", "origins": ["https://bob.example"], "session_max_idle_days": 90}
    told = patch(alice, changes, "/v1/tenants/bob")
    assert members(alice.get("/v1/tenants/bob")) == told
    own = members(bob.get("/v1/tenant"))
    assert {name: told[name] for name in own} == own
    assert (own["session_max_idle_days"], own["api_id"], own["origins"]) == (90, 4711, ["https://bob.example"])
    assert patch(alice, {"session_max_idle_days": None}, "/v1/tenants/bob")["session_max_idle_days"] is None
    problem(charlie.call("PATCH", "/v1/tenants/bob", changes), 403, "forbidden")
    problem(alice.call("PATCH", "/v1/tenants/nobody", changes), 404, "not_found")


def test_the_limits_are_those_in_force(make_client: MakeClient, alice: Caller) -> None:
    """Read only, by the names of what they limit."""
    client, _ = make_client(login_rate_per_minute=7, max_waiting_logins=11, max_streams_per_tenant=13)
    limits = members(Caller(client, "alice", alice.headers).get("/v1/tenant"))["limits"]
    assert (limits["logins_per_minute"], limits["waiting_logins"], limits["streams"]) == (7, 11, 13)


def test_what_stood_in_the_open_is_sealed_by_the_rotation(alice: Caller, core: Core) -> None:
    """Secrets from before they had columns serve as they are, until they are sealed; then as before."""
    with core.transaction() as db:
        db.get_one(Tenant, "alice").telegram = {"api_id": 4711, "api_hash": HASH, "proxy": PROXY}
    before = tenant_identity(core.settings, core.keyring, row(core))
    assert members(alice.get("/v1/tenant"))["api_hash_set"] is True
    assert (seal_what_is_open(core.transaction, core.keyring), before.api_hash) == (1, HASH)
    assert row(core).telegram == {"api_id": 4711}
    assert tenant_identity(core.settings, core.keyring, row(core)) == before
    assert seal_what_is_open(core.transaction, core.keyring) == 0
