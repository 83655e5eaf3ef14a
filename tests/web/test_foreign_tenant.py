"""Every route of the OpenAPI document, called by another tenant: a new route cannot be forgotten."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from app.core import Core
from app.tenants.keys import SCOPES
from tests.sessions.rows import give_session
from tests.web.callers import Caller, members, problem, with_key

BODIES: Mapping[str, dict[str, Any]] = {
    "acquire": {"holder": "bot-2", "ttl_seconds": 60},
    "patch_key": {"name": "of another"},
    "patch_tenant": {"name": "of another"},
    "patch_webhook": {"enabled": True},
    "post_code": {"code": "12345"},
    "post_key": {"scopes": ["logins"]},
    "post_method": {"method": "code", "phone": "+4915112345678"},
    "post_password": {"password": "hunter2"},
    "post_replay": {"since": "2026-01-01T00:00:00Z"},
    "renew": {"ttl_seconds": 60},
}
"""What the routes that take a body are called with, by operationId: good bodies, so that nothing else refuses the call."""

NOT_FOR_A_KEY = ("post_again",)
"""Operations on a login that no API key may do."""


class Route(NamedTuple):
    """One operation of the document."""

    method: str
    path: str
    operation: dict[str, Any]

    def body(self) -> dict[str, Any] | None:
        """What to call it with."""
        if "requestBody" not in self.operation:
            return None
        name = self.operation["operationId"]
        assert name in BODIES, f"{name} is new and takes a body: add one to BODIES"
        return BODIES[name]


@pytest.fixture
def routes(nobody: Caller) -> list[Route]:
    """Every route that needs a key."""
    document = members(nobody.get("/openapi.json"))
    return [
        Route(method.upper(), path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method != "parameters" and operation.get("security")
    ]


@pytest.fixture
def stranger(core: Core, alice: Caller, bob: Caller) -> Caller:
    """Bob, with every scope that is his tenant's own business."""
    assert alice.tenant_id != bob.tenant_id
    return with_key(bob.client, core, tenant_id="bob", scopes=tuple(scope for scope in SCOPES if scope != "admin"))


def make_things(core: Core, alice: Caller) -> dict[str, str]:
    """One of everything, of Alice's: path parameters by name."""
    session_id, _ = give_session(core)
    lease = members(alice.post(f"/v1/sessions/{session_id}/lease", {"holder": "bot-1", "ttl_seconds": 60}))
    webhook = members(alice.post("/v1/webhooks", {"url": "https://alice.example/hook"}))
    return {
        "login_id": alice.start_login()["id"],
        "session_id": session_id,
        "lease_id": lease["lease_id"],
        "webhook_id": webhook["id"],
        "event_id": members(alice.post(f"/v1/webhooks/{webhook['id']}/test"))["event_id"],
        "tenant_id": "alice",
        "key_id": alice.key_id,
    }


def fill(path: str, things: Mapping[str, str]) -> str:
    """The path of these things."""
    names = re.findall(r"\{(\w+)\}", path)
    assert set(names) <= set(things), f"{path} names something new: add it to make_things"
    return path.format(**things)


def test_another_tenants_things_are_not_there(core: Core, alice: Caller, stranger: Caller, routes: list[Route]) -> None:
    """404, or 403 where the scope alone forbids it, for every route that names a thing; Alice herself is let in."""
    things = make_things(core, alice)
    named = [route for route in routes if "{" in route.path]
    assert len(named) > 25
    for route in named:
        answer = stranger.call(route.method, fill(route.path, things), route.body())
        assert answer.status_code in ({401} if route.operation["operationId"] in NOT_FOR_A_KEY else {403, 404}), (
            f"{route.method} {route.path}: {answer.status_code}"
        )
    # What ends a thing comes last, and the lease before its session.
    for route in sorted(named, key=lambda route: (route.method == "DELETE", -len(route.path))):
        if route.operation["operationId"] in NOT_FOR_A_KEY or route.path.startswith("/v1/tenants"):
            continue
        answer = alice.call(route.method, fill(route.path, things), route.body())
        answer.close()  # the event stream's does not end
        assert answer.status_code in {200, 201, 202, 204, 409}, f"{route.method} {route.path}: {answer.text}"


def test_another_logins_secret_opens_nothing(core: Core, alice: Caller, stranger: Caller, routes: list[Route]) -> None:
    """Whoever holds the secret of one login reads and drives no other."""
    things, theirs = make_things(core, alice), stranger.start_login()
    person = Caller(stranger.client, "", {"Login-Secret": theirs["client_secret"]})
    for route in routes:
        answer = person.call(route.method, fill(route.path, things), route.body() if "{" in route.path else {})
        expected = (404,) if {"LoginSecret": []} in route.operation["security"] else (401, 403)
        assert answer.status_code in expected, f"{route.method} {route.path}: {answer.status_code}"


def test_lists_show_nothing_of_another_tenants(
    core: Core, alice: Caller, stranger: Caller, routes: list[Route]
) -> None:
    """No id of Alice's is in any answer to Bob."""
    things = make_things(core, alice)
    ids = {value for name, value in things.items() if name != "tenant_id"}
    lists = [route for route in routes if route.method == "GET" and "{" not in route.path]
    assert len(lists) >= 4
    for route in lists:
        answer = stranger.call("GET", route.path)
        assert answer.status_code in {200, 403}, route.path
        if answer.mimetype == "text/event-stream":  # does not end; tests/web/test_events.py reads it
            answer.close()
            continue
        assert not [each for each in ids if each in answer.text], route.path


def test_a_login_for_another_tenants_session_is_refused(core: Core, stranger: Caller) -> None:
    """A body names things, too."""
    session_id, _ = give_session(core)
    problem(stranger.post("/v1/logins", {"session_id": session_id}), 404, "not_found")
