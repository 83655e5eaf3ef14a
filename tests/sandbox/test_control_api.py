"""The control API, call by call: what it answers, and what it refuses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import requests

from sandbox.driver import SandboxRefusedError
from sandbox.process import RunningSandbox, SandboxStartError
from tests.sandbox.clients import TelethonClients, export
from tests.sandbox.conftest import SandboxMaker


def call(sandbox: RunningSandbox, verb: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Make a call with a body as it is; return status and JSON."""
    answer = requests.request(verb, sandbox.control + path, data=body, timeout=10)
    return answer.status_code, answer.json()


def test_an_account_needs_nothing(sandbox: RunningSandbox) -> None:
    """It gets an id above 2^32, a test number, data centre 2, and is found again."""
    status, made = call(sandbox, "POST", "/accounts")
    assert status == 201
    assert made["id"] > 2**32
    assert made["phone"].startswith("999662")
    assert (made["dc_id"], made["state"], made["accept"], made["has_password"]) == (2, "active", "next_export", False)
    assert call(sandbox, "GET", f"/accounts/{made['id']}") == (200, made)
    assert made in sandbox.driver.accounts()


def test_an_account_is_what_was_asked_for(sandbox: RunningSandbox) -> None:
    """And its number is its own."""
    wanted = {"phone": "+49 151 12345678", "first_name": "Bob", "username": "bob", "dc_id": 3, "accept": "at_once"}
    wanted["code_deliveries"] = ["email", "sms"]
    made = sandbox.driver.create_account(**wanted, password="pw", hint="the usual")
    assert made == {"id": made["id"], "state": "active", "has_password": True, **wanted, "phone": "4915112345678"}
    with pytest.raises(SandboxRefusedError, match="belongs to another account"):
        sandbox.driver.create_account(phone="4915112345678")


@pytest.mark.parametrize(
    ("path", "body", "complaint"),
    [
        ("/accounts", "{", "not JSON"),
        ("/accounts", "[]", "must be a JSON object"),
        ("/accounts", '{"name": "Alice"}', "unknown field: name"),
        ("/accounts", '{"first_name": 1}', "first_name must be text"),
        ("/accounts", '{"dc_id": true}', "dc_id must be a whole number"),
        ("/accounts", '{"dc_id": 4}', "dc_id must be one of 1, 2, 3"),
        ("/accounts", '{"phone": "home"}', "phone must hold"),
        ("/accounts", '{"code_deliveries": "app"}', "code_deliveries must be a list of: app, sms, call"),
        ("/accounts", '{"code_deliveries": []}', "code_deliveries must be a list of"),
        ("/accounts", '{"code_deliveries": ["app", 7]}', "code_deliveries must be a list of"),
        ("/accounts", '{"accept": "never"}', "accept must be one of: next_export, at_once"),
        ("/faults", "{}", "method is missing"),
        ("/faults", '{"method": "*"}', "no effect"),
        ("/faults", '{"method": "*", "silent": 1}', "silent must be true or false"),
        ("/faults", '{"method": "*", "silent": true, "times": 0}', "times must be between"),
        ("/faults", '{"method": "*", "delay_ms": -1}', "delay_ms must be between"),
        ("/faults", '{"method": "*", "silent": true, "auth_key_id": "zz"}', "auth_key_id must be"),
        ("/faults", '{"method": "*", "silent": true, "lose_update": true}', "a fault of its own"),
        ("/faults", '{"method": "users.getUsers", "lose_update": true}', "wants one of these methods"),
        ("/faults", '{"method": "*", "silent": true, "probability": 1}', "unknown field: probability"),
        ("/network", "{}", "missing"),
        ("/network", '{"mode": "slow"}', "mode must be one of: ok, refuse, accept_and_close, silent"),
        ("/network", '{"latency_ms": "1"}', "latency_ms must be a whole number"),
    ],
)
def test_a_bad_body_is_told_what_is_wrong(sandbox: RunningSandbox, path: str, body: str, complaint: str) -> None:
    """400, and a sentence that names the field."""
    status, answer = call(sandbox, "POST", path, body)
    assert status == 400
    assert complaint in answer["error"]


def test_bad_bodies_of_an_accounts_calls(sandbox: RunningSandbox) -> None:
    """A scan wants a url, a state one of three."""
    path = f"/accounts/{sandbox.driver.create_account()['id']}"
    for tail, body, complaint in (
        ("/scan", "{}", "url is missing"),
        ("/scan", '{"url": 1}', "url must be text"),
        ("/state", "{}", "state is missing"),
        ("/state", '{"state": "gone"}', "state must be one of: active, deactivated, banned"),
    ):
        status, answer = call(sandbox, "POST", path + tail, body)
        assert (status, complaint in answer["error"]) == (400, True)


def test_what_is_not_there_is_404(sandbox: RunningSandbox) -> None:
    """An account, an authorization, a path; and a wrong verb is 405. All as JSON."""
    known = sandbox.driver.create_account()["id"]
    for verb, path, status in (
        ("GET", "/accounts/1", 404),
        ("POST", "/accounts/1/scan", 404),
        ("GET", "/accounts/1/messages", 404),
        ("DELETE", f"/accounts/{known}/authorizations/1", 404),
        ("GET", "/nothing", 404),
        ("DELETE", "/stats", 405),
    ):
        answered, answer = call(sandbox, verb, path, "{}" if verb == "POST" else None)
        assert (answered, bool(answer["error"])) == (status, True)


def test_faults_are_listed_until_they_are_used_or_cleared(sandbox: RunningSandbox) -> None:
    """With everything that was asked for; a key may be named as a number or in hexadecimal."""
    driver = sandbox.driver
    made = driver.add_fault("auth.signIn", error="FLOOD_WAIT_3", delay_ms=5, times=2, user_id=7, auth_key_id=-1)
    assert driver.faults() == [made]
    assert made == {
        "method": "auth.signIn",
        "error": "FLOOD_WAIT_3",
        "delay_ms": 5,
        "drop_connection": False,
        "silent": False,
        "lose_update": False,
        "times": 2,
        "user_id": 7,
        "auth_key_id": "f" * 16,
    }
    driver.add_fault("*", silent=True, auth_key_id="00000000000000ff")
    assert driver.clear_faults() == {"cleared": 2}
    assert driver.faults() == []


async def test_stats_count_what_happens(clients: TelethonClients) -> None:
    """Connections, keys, logins, calls by name, exchanges."""
    driver = clients.sandbox.driver
    before = driver.stats()
    alice = driver.create_account()
    one, other = await clients.log_in(alice), await clients.connect()
    await export(other)
    stats = driver.stats()
    assert stats["connections"] == before["connections"] + 2
    assert stats["auth_keys"] == before["auth_keys"] + 2
    assert stats["handshakes"] == before["handshakes"] + 2
    assert stats["authorized_keys"] == before["authorized_keys"] + 1
    exports = "auth.exportLoginToken"
    assert stats["calls"][exports] == before["calls"].get(exports, 0) + 3
    assert set(stats["violations"]) == {"flood_wait", "parallel_auth_key", "unpaced"}
    await one.disconnect()
    async with asyncio.timeout(10):
        while driver.stats()["connections"] != before["connections"] + 1:  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.02)


def test_the_phone_page_needs_nothing_else(sandbox: RunningSandbox) -> None:
    """One HTML page without a resource from elsewhere."""
    page = requests.get(sandbox.control + "/phone", timeout=10)
    assert page.headers["Content-Type"].startswith("text/html")
    assert "src=" not in page.text
    assert "href=" not in page.text
    assert "http" not in page.text.replace("http://www.w3.org/2000/svg", "")


def test_only_loopback_is_served(make_sandbox: SandboxMaker) -> None:
    """It has no password: 0.0.0.0 is refused."""
    with pytest.raises(SandboxStartError, match="loopback"):
        make_sandbox(host="0.0.0.0")


def test_a_taken_port_is_one_clear_line(sandbox: RunningSandbox, make_sandbox: SandboxMaker) -> None:
    """Not a traceback."""
    with pytest.raises(SandboxStartError, match=f"cannot listen on port {sandbox.dcs[2]}") as failure:
        make_sandbox(dc_ports=sandbox.dcs[2])
    assert "Traceback" not in str(failure.value)
