"""Impatient neighbours and leaked keys: each rule written as what somebody would try."""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
import requests
from sqlalchemy import event

from app.clock import utc_now
from app.core import Core
from app.errors import RateLimited
from app.logins.service import Reader, read_login
from app.logins.store import end_from_outside
from app.models import ApiKey, AuditEvent, Login, TelegramSession
from app.tenants.keys import create_api_key
from app.tenants.store import create_tenant
from app.vault.audit import record_event
from tests.web.callers import Caller, members, problem, with_key
from tests.web.conftest import MakeClient
from tests.web.live import Live
from tests.web.playing_worker import PlayingWorker
from web.stream_caps import StreamCaps
from web.watch import Viewed

OWN: set[tuple[str, str]] = {
    ("POST", "/v1/logins"),
    ("POST", "/v1/sessions"),
    *(("POST", f"/v1/logins/{{login_id}}/{what}") for what in ("password", "code", "code/resend", "method", "again")),
}
"""Routes whose limits are not by key: by tenant and minute, by login, by phone number. Their own tests show them."""


def with_secret(caller: Caller, login: dict[str, Any]) -> Caller:
    """A browser with the login's own secret."""
    return Caller(caller.client, caller.tenant_id, {"Login-Secret": login["client_secret"]})


def audit_of(core: Core, action: str) -> list[AuditEvent]:
    """The audit's rows of an action, oldest first."""
    with core.transaction() as db:
        return list(db.query(AuditEvent).filter_by(action=action).order_by(AuditEvent.id))


# --- limits


def test_every_route_is_limited(make_client: MakeClient) -> None:
    """Built from the OpenAPI document, so that a new route cannot be forgotten: the second call within the minute is 429."""
    client, parts = make_client(read_rate_per_minute=1, open_rate_per_minute=1)
    create_tenant(parts.core.transaction, actor="test", tenant_id="alice", name="Alice")
    document = client.get("/openapi.json").get_json()
    routes = [
        (method.upper(), path)
        for path, operations in document["paths"].items()
        if path.startswith("/v1/")
        for method in operations
        if (method.upper(), path) not in OWN and "{lease_id}" not in path
    ]
    assert len(routes) > 20
    for method, path in routes:
        caller = with_key(client, parts.core, tenant_id="alice")
        parts.core.redis.flushdb()
        concrete = re.sub(r"\{\w+\}", "x_1", path)
        first = caller.call(method, concrete)
        assert first.status_code != 429, (method, path)
        assert "RateLimit" in first.headers, (method, path)
        problem(caller.call(method, concrete), 429, "rate_limited")


def test_a_lease_is_renewed_as_often_as_there_are_leases(make_client: MakeClient) -> None:
    """Renewing counts by lease, so that whoever holds a thousand sessions need not wait; one lease has a limit."""
    client, parts = make_client(open_rate_per_minute=1)
    create_tenant(parts.core.transaction, actor="test", tenant_id="alice", name="Alice")
    alice = with_key(client, parts.core, tenant_id="alice")
    for number in range(20):
        assert alice.put(f"/v1/sessions/ses_1/lease/lse_{number}", {"ttl_seconds": 60}).status_code == 404
    answers = [alice.put("/v1/sessions/ses_1/lease/lse_x", {"ttl_seconds": 60}).status_code for _ in range(61)]
    assert answers[-1] == 429


def test_one_tenants_calls_use_up_nothing_of_anothers(make_client: MakeClient) -> None:
    """Neither by key nor by tenant."""
    client, parts = make_client(read_rate_per_minute=2)
    for name in ("alice", "bob"):
        create_tenant(parts.core.transaction, actor="test", tenant_id=name, name=name)
    alice, bob = (with_key(client, parts.core, tenant_id=name) for name in ("alice", "bob"))
    assert [alice.get("/v1/sessions").status_code for _ in range(3)] == [200, 200, 429]
    assert bob.get("/v1/sessions").status_code == 200


def test_waiting_logins_are_capped_by_tenant(make_client: MakeClient) -> None:
    """429 beyond MAX_WAITING_LOGINS, as soon as one ends there is room; another tenant has its own."""
    client, parts = make_client(max_waiting_logins=3)
    for name in ("alice", "bob"):
        create_tenant(parts.core.transaction, actor="test", tenant_id=name, name=name)
    alice, bob = (with_key(client, parts.core, tenant_id=name) for name in ("alice", "bob"))
    started = [alice.start_login() for _ in range(3)]
    refused = alice.post("/v1/logins", {})
    problem(refused, 429, "rate_limited")
    assert int(refused.headers["Retry-After"]) > 0
    assert bob.post("/v1/logins", {}).status_code == 202
    assert alice.delete(f"/v1/logins/{started[0]['id']}").status_code == 200
    assert alice.post("/v1/logins", {}).status_code == 202


def test_a_phone_gets_few_codes_whoever_asks(make_client: MakeClient) -> None:
    """Starts, switches and resends of all tenants count together, by the number and not by how it is written."""
    client, parts = make_client(codes_per_phone_per_hour=3)
    for name in ("alice", "bob"):
        create_tenant(parts.core.transaction, actor="test", tenant_id=name, name=name)
    alice, bob = (with_key(client, parts.core, tenant_id=name) for name in ("alice", "bob"))
    login = alice.start_login(method="code", phone="+15551234567")
    worker = PlayingWorker(parts.core, login["id"])
    worker.ask_code()
    assert alice.post(f"/v1/logins/{login['id']}/code/resend").status_code == 202
    assert bob.post("/v1/logins", {"method": "code", "phone": "+1 (555) 123-4567"}).status_code == 202
    problem(alice.post(f"/v1/logins/{login['id']}/code/resend"), 429, "rate_limited")
    problem(bob.post("/v1/logins", {"method": "code", "phone": "15551234567"}), 429, "rate_limited")
    plain = bob.start_login()
    switch = {"method": "code", "phone": "+15551234567"}
    problem(bob.post(f"/v1/logins/{plain['id']}/method", switch), 429, "rate_limited")
    assert bob.post("/v1/logins", {"method": "code", "phone": "+15551234568"}).status_code == 202


def test_validations_are_spaced(alice: Caller, core: Core) -> None:
    """Six a minute for a session: a loop over it is told to wait, and other sessions go on."""
    for name in ("ses_1", "ses_2"):
        with core.transaction() as db:
            db.add(TelegramSession(id=name, tenant_id="alice", dc_id=2, status="revoked"))
    answers = [alice.post("/v1/sessions/ses_1/validate").status_code for _ in range(7)]
    assert answers == [409] * 6 + [429]
    assert alice.post("/v1/sessions/ses_2/validate").status_code == 409


def test_streams_are_capped_by_login_tenant_and_address(settings: Any) -> None:
    """As many as there may be; when one closes, there is room; an API key has no address."""
    caps = StreamCaps(
        settings.model_copy(
            update={"max_streams_per_login": 2, "max_streams_per_tenant": 3, "max_streams_per_address": 1}
        )
    )
    with ExitStack() as stack:
        for login_id in ("a", "a", "b"):
            stack.enter_context(caps.open(login_id=login_id, tenant_id="alice", address=None))
        for login_id, tenant_id in (("a", "bob"), ("c", "alice")):
            with pytest.raises(RateLimited), caps.open(login_id=login_id, tenant_id=tenant_id, address=None):
                pass
        stack.enter_context(caps.open(login_id="d", tenant_id="bob", address="192.0.2.1"))
        with pytest.raises(RateLimited), caps.open(login_id="e", tenant_id="bob", address="192.0.2.1"):
            pass
    with caps.open(login_id="a", tenant_id="alice", address="192.0.2.1"):
        pass


def test_a_change_is_read_once_for_all_who_watch(alice: Caller, core: Core) -> None:
    """However many viewers a login has: the first one that hears of a change reads it for the others."""
    login_id = alice.start_login()["id"]
    reads, viewed = [], Viewed()
    lock = threading.Lock()

    def read() -> Any:
        with lock:
            reads.append(1)
        return read_login(core, login_id=login_id, reader=Reader(tenant_id="alice"))

    threads = [threading.Thread(target=lambda: viewed.read(read, at_least=1, by_key=True)) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(reads) == 1
    viewed.read(read, at_least=1, by_key=False)
    assert len(reads) == 2


# --- revoking at once


def wait_for_end(stream: requests.Response, began: float) -> float:
    """Read a stream to its end; how long after ``began`` that was."""
    for _ in stream.iter_lines():
        pass
    return time.monotonic() - began


def test_a_revoked_keys_streams_end_within_five_seconds(live: Live) -> None:
    """Those that were opened with it, and no others; its logins are cancelled, its long polls are told."""
    made = create_api_key(live.core.transaction, actor="test", tenant_id="alice", scopes=("logins",))
    headers = {"Authorization": f"Bearer {made.key}"}
    mine = requests.post(f"{live.url}/v1/logins", headers=headers, json={}, timeout=10).json()
    other = live.start_login()
    watched = f"{live.url}/v1/logins/{other['id']}"
    polled: list[int] = []
    poll = threading.Thread(
        target=lambda: polled.append(
            requests.get(watched, headers=headers, params={"wait": "20", "version": "99"}, timeout=30).status_code
        )
    )
    with (
        requests.get(f"{watched}/events", headers=headers, stream=True, timeout=20) as stream,
        live.events(other["id"]) as others,
    ):
        next(others)
        poll.start()
        time.sleep(0.3)  # let the poll begin to wait
        began = time.monotonic()
        answer = requests.delete(
            f"{live.url}/v1/tenants/alice/api-keys/{made.id}", headers=dict(live.headers), timeout=10
        )
        assert answer.status_code == 200, answer.text
        assert wait_for_end(stream, began) < 5
        poll.join(10)
        assert polled == [401]
        assert live.call("GET", f"/v1/logins/{mine['id']}").json()["status"] == "cancelled"
        PlayingWorker(live.core, other["id"]).publish_qr()
        assert next(others).login["status"] == "waiting_for_scan"


def add_leased(core: Core, session_id: str, *, key_id: str | None, tenant_id: str = "alice") -> None:
    """Add a session that somebody holds for an hour."""
    with core.transaction() as db:
        db.add(
            TelegramSession(
                id=session_id,
                tenant_id=tenant_id,
                dc_id=2,
                status="active",
                lease_id=f"lse_{session_id}",
                lease_holder="bot",
                lease_api_key_id=key_id,
                lease_expires_at=utc_now() + timedelta(hours=1),
            )
        )


def lease_seconds(core: Core, session_id: str) -> float:
    """How long a session is still held."""
    with core.transaction() as db:
        expires_at = db.get_one(TelegramSession, session_id).lease_expires_at
    assert expires_at is not None
    return (expires_at - utc_now()).total_seconds()


def test_a_revoked_keys_leases_are_shortened(alice: Caller, core: Core) -> None:
    """Those that it acquired; another key's stay."""
    leaked = create_api_key(core.transaction, actor="test", tenant_id="alice", scopes=("sessions:open",))
    add_leased(core, "ses_1", key_id=leaked.id)
    add_leased(core, "ses_2", key_id=alice.key_id)
    assert alice.delete(f"/v1/tenants/alice/api-keys/{leaked.id}").status_code == 200
    assert lease_seconds(core, "ses_1") < 61
    assert lease_seconds(core, "ses_2") > 3000


def test_a_disabled_tenant_stops_at_once(alice: Caller, bob: Caller, core: Core) -> None:
    """Its logins are cancelled, its leases shortened, nothing starts again; and it can be enabled."""
    login = bob.start_login()
    add_leased(core, "ses_1", key_id=bob.key_id, tenant_id="bob")
    assert members(alice.call("PATCH", "/v1/tenants/bob", {"disabled": True}))["disabled_at"] is not None
    problem(bob.get("/v1/sessions"), 401, "unauthenticated")
    with core.transaction() as db:
        assert db.get_one(Login, login["id"]).status == "cancelled"
    assert lease_seconds(core, "ses_1") < 61
    problem(with_secret(bob, login).post(f"/v1/logins/{login['id']}/again"), 409, "tenant_disabled")
    enabled = members(alice.call("PATCH", "/v1/tenants/bob", {"disabled": False, "name": "Bobby"}))
    assert (enabled["disabled_at"], enabled["name"]) == (None, "Bobby")
    assert bob.get("/v1/sessions").status_code == 200


# --- after a leak


def add_opened(
    core: Core, session_id: str, *, key_id: str, holder: str, tenant_id: str = "alice", days_ago: int = 0
) -> None:
    """Add a session that was opened once."""
    with core.transaction() as db:
        db.add(TelegramSession(id=session_id, tenant_id=tenant_id, dc_id=2, status="active"))
        record_event(
            db,
            tenant_id=tenant_id,
            actor=f"api-key:{key_id}",
            action="session.opened",
            subject=session_id,
            reason=f"leased to {holder}",
            details={"holder": holder},
        )
        db.flush()
        for event in db.query(AuditEvent).filter_by(subject=session_id):
            event.at = utc_now() - timedelta(days=days_ago)


def statuses(core: Core) -> dict[str, str]:
    """Every session's status."""
    with core.transaction() as db:
        return {row.id: row.status for row in db.query(TelegramSession)}


def test_what_a_leaked_key_or_holder_opened_is_revoked(alice: Caller, bob: Caller, core: Core) -> None:
    """By key, by holder, since a time; never another tenant's."""
    add_opened(core, "ses_1", key_id="key_leaked", holder="bot-1")
    add_opened(core, "ses_2", key_id="key_leaked", holder="bot-2", days_ago=9)
    add_opened(core, "ses_3", key_id="key_good", holder="bot-1")
    add_opened(core, "ses_4", key_id="key_good", holder="bot-3")
    add_opened(core, "ses_5", key_id="key_leaked", holder="bot-1", tenant_id="bob")
    since = (utc_now() - timedelta(days=1)).isoformat()
    asked = alice.post("/v1/sessions/revoke", {"api_key_id": "key_leaked", "opened_since": since})
    assert (asked.status_code, members(asked)) == (202, {"sessions": 1})
    assert members(alice.post("/v1/sessions/revoke", {"holder": "bot-1"})) == {"sessions": 1}
    assert members(alice.post("/v1/sessions/revoke", {"api_key_id": "key_leaked"})) == {"sessions": 1}
    assert statuses(core) == {
        "ses_1": "revoking",
        "ses_2": "revoking",
        "ses_3": "revoking",
        "ses_4": "active",
        "ses_5": "active",
    }
    assert members(alice.post("/v1/sessions/revoke", {"all": True})) == {"sessions": 1}
    assert members(alice.post("/v1/sessions/revoke", {"all": True})) == {"sessions": 0}
    assert statuses(core)["ses_5"] == "active"
    assert len(audit_of(core, "sessions.revoked")) == 5


@pytest.mark.parametrize(
    "body", [{}, {"all": False}, {"all": True, "holder": "bot"}, {"holder": ""}, {"opened_since": "now"}]
)
def test_everything_is_revoked_only_when_that_is_said(alice: Caller, core: Core, body: dict[str, Any]) -> None:
    """422, and nothing happens."""
    add_opened(core, "ses_1", key_id="key_x", holder="bot")
    problem(alice.post("/v1/sessions/revoke", body), 422, "invalid_request")
    assert statuses(core) == {"ses_1": "active"}


# --- keys


def test_a_key_that_expired_does_not_work(alice: Caller, core: Core) -> None:
    """401, as for any key that is not valid."""
    made = members(
        alice.post(
            "/v1/tenants/alice/api-keys",
            {"scopes": ["logins"], "expires_at": (utc_now() + timedelta(hours=1)).isoformat()},
        )
    )
    caller = Caller(alice.client, "alice", {"Authorization": f"Bearer {made['key']}"})
    assert caller.post("/v1/logins", {}).status_code == 202
    with core.transaction() as db:
        db.get_one(ApiKey, made["id"]).expires_at = utc_now() - timedelta(seconds=1)
    problem(caller.post("/v1/logins", {}), 401, "unauthenticated")
    past = {"scopes": ["logins"], "expires_at": "2020-01-01T00:00:00Z"}
    problem(alice.post("/v1/tenants/alice/api-keys", past), 422, "invalid_request")


def test_a_key_works_in_its_networks_only(alice: Caller) -> None:
    """403 from elsewhere; an IPv4 address in an IPv6 one's clothes is the IPv4 one; the networks can be changed."""
    made = members(
        alice.post(
            "/v1/tenants/alice/api-keys", {"scopes": ["logins"], "networks": ["203.0.113.9/24", "2001:db8::/32"]}
        )
    )
    assert made["networks"] == ["203.0.113.0/24", "2001:db8::/32"]
    caller = Caller(alice.client, "alice", {"Authorization": f"Bearer {made['key']}"})
    for address, status in (
        ("203.0.113.77", 202),
        ("::ffff:203.0.113.5", 202),
        ("2001:db8::7", 202),
        ("198.51.100.1", 403),
        ("2001:db9::1", 403),
    ):
        caller.address = address
        assert caller.post("/v1/logins", {}).status_code == status, address
    problem(caller.post("/v1/logins", {}), 403, "network_not_allowed")
    path = f"/v1/tenants/alice/api-keys/{made['id']}"
    assert members(alice.call("PATCH", path, {"networks": []}))["networks"] == []
    assert caller.post("/v1/logins", {}).status_code == 202
    problem(alice.call("PATCH", path, {"networks": ["everywhere"]}), 422, "invalid_request")


def test_minting_a_key_to_anothers_sessions_is_told_to_both(alice: Caller, core: Core) -> None:
    """An audit row in each tenant; a key of one's own tenant is nothing special."""
    alice.post("/v1/tenants/alice/api-keys", {"scopes": ["sessions:open"]})
    assert audit_of(core, "api_key.may_open_sessions_of_another_tenant") == []
    assert alice.post("/v1/tenants/bob/api-keys", {"scopes": ["sessions:open"]}).status_code == 201
    told = audit_of(core, "api_key.may_open_sessions_of_another_tenant")
    assert {event.tenant_id for event in told} == {"alice", "bob"}


def test_minting_keys_to_anothers_sessions_can_be_switched_off(make_client: MakeClient) -> None:
    """403 then, and no key is made; keys of other scopes still are."""
    client, parts = make_client(admin_may_open_sessions=False)
    for name in ("alice", "bob"):
        create_tenant(parts.core.transaction, actor="test", tenant_id=name, name=name)
    alice = with_key(client, parts.core, tenant_id="alice")
    problem(alice.post("/v1/tenants/bob/api-keys", {"scopes": ["sessions:open"]}), 403, "forbidden")
    assert members(alice.get("/v1/tenants/bob/api-keys"))["data"] == []
    assert alice.post("/v1/tenants/bob/api-keys", {"scopes": ["logins"]}).status_code == 201


# --- client secrets


def test_a_secret_fades_an_hour_after_the_end(alice: Caller, core: Core) -> None:
    """404 then, for everything; the tenant still reads its login."""
    login = alice.start_login()
    with core.transaction() as db:
        assert end_from_outside(db, login_id=login["id"], status="expired") is not None
    user, path = with_secret(alice, login), f"/v1/logins/{login['id']}"
    assert user.get(path).status_code == 200
    with core.transaction() as db:
        db.get_one(Login, login["id"]).finished_at = utc_now() - timedelta(minutes=61)
    for answer in (user.get(path), user.get(f"{path}/events"), user.get(f"{path}/qr.svg"), user.post(f"{path}/again")):
        problem(answer, 404, "not_found")
    assert alice.get(path).status_code == 200


def test_a_secret_shows_nothing_that_is_the_tenants_own(alice: Caller) -> None:
    """Neither metadata nor the tenant's name for the person."""
    login = alice.start_login(metadata={"plan": "gold"}, end_user_id="u-1")
    shown = members(with_secret(alice, login).get(f"/v1/logins/{login['id']}"))
    assert (shown["metadata"], shown["end_user_id"]) == ({}, None)
    told = members(alice.get(f"/v1/logins/{login['id']}"))
    assert (told["metadata"], told["end_user_id"]) == ({"plan": "gold"}, "u-1")


# --- audit


def test_a_logins_start_and_end_are_in_the_audit(alice: Caller, core: Core) -> None:
    """By whom: the key that asked, the secret that cancelled."""
    login = alice.start_login()
    assert with_secret(alice, login).delete(f"/v1/logins/{login['id']}").status_code == 200
    [started], [cancelled] = audit_of(core, "login.started"), audit_of(core, "login.cancelled")
    assert (started.actor, started.subject) == (f"api-key:{alice.key_id}", login["id"])
    assert (cancelled.actor, cancelled.subject) == ("login-secret", login["id"])


def test_refusals_are_sampled(alice: Caller, nobody: Caller, core: Core) -> None:
    """Who was refused what, and from where; a flood of them does not fill the audit."""
    problem(with_key(alice.client, core, tenant_id="alice", scopes=("logins",)).get("/v1/audit"), 403, "forbidden")
    for _ in range(20):
        problem(nobody.get("/v1/sessions"), 401, "unauthenticated")
    rows = audit_of(core, "request.refused")
    assert [(row.tenant_id, row.subject, row.reason) for row in rows[:2]] == [
        ("alice", "GET /v1/audit", "forbidden"),
        (None, "GET /v1/sessions", "unauthenticated"),
    ]
    assert len(rows) == 5


def test_the_audit_is_filtered_and_exported(alice: Caller, bob: Caller) -> None:
    """By action, subject and time; as lines of JSON, all of it; another tenant's is not in it."""
    login = alice.start_login()
    for _ in range(3):
        alice.start_login()
    assert alice.delete(f"/v1/logins/{login['id']}").status_code == 200
    bob.start_login()
    of_one = members(alice.get(f"/v1/audit?subject={login['id']}"))["data"]
    assert [event["action"] for event in of_one] == ["login.cancelled", "login.started"]
    assert len(members(alice.get("/v1/audit?action=login.started&limit=2"))["data"]) == 2
    assert members(alice.get("/v1/audit?since=2999-01-01T00:00:00Z"))["data"] == []
    exported = alice.get("/v1/audit?action=login.started", Accept="application/x-ndjson")
    assert exported.mimetype == "application/x-ndjson"
    events = [json.loads(line) for line in exported.text.splitlines()]
    assert [event["action"] for event in events] == ["login.started"] * 4
    assert all(event["actor"] == f"api-key:{alice.key_id}" for event in events)
    problem(alice.get("/v1/audit?since=yesterday"), 422, "invalid_request")


@pytest.mark.parametrize("by_key", [True, False])
def test_a_password_takes_one_transaction(alice: Caller, core: Core, by_key: bool) -> None:
    """Who types it is looked at in the transaction that reads the login, by API key and by the login's own secret."""
    login = alice.start_login()
    PlayingWorker(core, login["id"]).ask_password()
    caller, begun = alice if by_key else with_secret(alice, login), list[int]()
    assert alice.get("/v1/sessions").status_code == 200  # the key's use is noted once a minute

    def count(_: object) -> None:
        begun.append(1)

    event.listen(core.engine, "begin", count)
    try:
        assert caller.post(f"/v1/logins/{login['id']}/password", {"password": "x"}).status_code == 202
    finally:
        event.remove(core.engine, "begin", count)
    assert len(begun) == 1
