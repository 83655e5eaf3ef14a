"""The calls of webhooks: happy, another tenant's, another scope's, senseless."""

from __future__ import annotations

from app.core import Core
from tests.web.callers import Caller, members, problem, with_key

URL = "https://alice.example/hook"


def test_a_webhook_is_made_read_changed_and_deleted(alice: Caller) -> None:
    """The secret is in the first answer and in no later one."""
    answer = alice.post("/v1/webhooks", {"url": URL, "events": ["session.invalid"]})
    made = members(answer)
    assert answer.status_code == 201
    assert made["secret"].startswith("whsec_")
    path = f"/v1/webhooks/{made['id']}"
    seen = members(alice.get(path))
    assert "secret" not in seen
    assert (seen["url"], seen["events"], seen["enabled"]) == (URL, ["session.invalid"], True)
    changed = members(alice.call("PATCH", path, {"events": None, "enabled": False}))
    assert (changed["url"], changed["events"], changed["enabled"]) == (URL, None, False)
    assert [row["id"] for row in members(alice.get("/v1/webhooks"))["data"]] == [made["id"]]
    assert members(alice.post(f"{path}/rotate-secret"))["secret"] != made["secret"]
    test = alice.post(f"{path}/test")
    assert test.status_code == 202
    (delivery,) = members(alice.get(f"{path}/deliveries"))["data"]
    assert (delivery["event_id"], delivery["type"], delivery["state"]) == (
        members(test)["event_id"],
        "webhook.test",
        "pending",
    )
    assert alice.post(f"{path}/deliveries/{delivery['event_id']}/replay").status_code == 202
    assert members(alice.post(f"{path}/replay", {"since": "2026-01-01T00:00:00Z"})) == {"events": 0}
    assert alice.delete(path).status_code == 200
    problem(alice.get(path), 404, "not_found")


def test_another_tenants_webhook_is_not_there(alice: Caller, bob: Caller) -> None:
    """Bob finds, changes and deletes nothing of Alice's."""
    path = f"/v1/webhooks/{members(alice.post('/v1/webhooks', {'url': URL}))['id']}"
    assert members(bob.get("/v1/webhooks"))["data"] == []
    for method, tail, body in (
        ("GET", "", None),
        ("PATCH", "", {"enabled": False}),
        ("DELETE", "", None),
        ("POST", "/test", {}),
        ("POST", "/rotate-secret", {}),
        ("POST", "/replay", {"since": "2026-01-01T00:00:00Z"}),
        ("GET", "/deliveries", None),
        ("POST", "/deliveries/msg_1/replay", {}),
    ):
        problem(bob.call(method, path + tail, body), 404, "not_found")


def test_a_key_without_the_scope_is_refused(core: Core, alice: Caller) -> None:
    """The scope is ``webhooks``."""
    other = with_key(alice.client, core, tenant_id="alice", scopes=("logins",))
    problem(other.get("/v1/webhooks"), 403, "forbidden")


def test_senseless_webhooks_are_refused(alice: Caller) -> None:
    """A private address, an unknown event, a null where none belongs, and an unknown field."""
    for body in (
        {"url": "https://169.254.169.254/"},
        {"url": "http://alice.example/"},
        {"url": URL, "events": ["x"]},
        {"url": URL, "events": []},
        {"url": URL, "colour": 1},
        {},
    ):
        problem(alice.post("/v1/webhooks", body), 422, "invalid_request")
