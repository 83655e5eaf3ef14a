"""The control API, call by call: what it answers, and what it refuses."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from typing import Any

import pytest
import requests
from telethon.errors import SessionPasswordNeededError
from telethon.tl import types

from sandbox.driver import SandboxRefusedError
from sandbox.process import RunningSandbox, SandboxStartError
from tests.sandbox.clients import TelethonClients, export, login_url, own_id, renewed
from tests.sandbox.conftest import OwnClients, SandboxMaker


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
    with_password = {"has_password": True, "hint": "the usual"}
    assert made == {"id": made["id"], "state": "active", **with_password, **wanted, "phone": "4915112345678"}
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
    """A scan wants a url, a state one of three, a password some text."""
    path = f"/accounts/{sandbox.driver.create_account()['id']}"
    for verb, tail, body, complaint in (
        ("POST", "/scan", "{}", "url is missing"),
        ("POST", "/scan", '{"url": 1}', "url must be text"),
        ("POST", "/state", "{}", "state is missing"),
        ("POST", "/state", '{"state": "gone"}', "state must be one of: active, deactivated, banned"),
        ("PUT", "/password", "{}", "password is missing or empty"),
        ("PUT", "/password", '{"password": ""}', "password is missing or empty"),
        ("PUT", "/password", '{"password": 1234}', "password must be text"),
        ("PUT", "/password", '{"password": "pw", "hint": 1}', "hint must be text"),
        ("PUT", "/password", '{"password": "pw", "email": "a@b"}', "unknown field: email"),
    ):
        status, answer = call(sandbox, verb, path + tail, body)
        assert (status, complaint in answer["error"]) == (400, True)


def test_what_is_not_there_is_404(sandbox: RunningSandbox) -> None:
    """An account, an authorization, a path; and a wrong verb is 405. All as JSON."""
    known = sandbox.driver.create_account()["id"]
    for verb, path, status in (
        ("GET", "/accounts/1", 404),
        ("POST", "/accounts/1/scan", 404),
        ("GET", "/accounts/1/messages", 404),
        ("DELETE", f"/accounts/{known}/authorizations/1", 404),
        ("PUT", "/accounts/1/password", 404),
        ("DELETE", "/accounts/1/password", 404),
        ("DELETE", "/faults/0", 404),
        ("GET", "/phone/nothing.js", 404),
        ("GET", "/phone/..%2fapi.js", 404),
        ("POST", "/login-tokens", 405),
        ("GET", "/nothing", 404),
        ("DELETE", "/stats", 405),
    ):
        answered, answer = call(sandbox, verb, path, None if verb in {"GET", "DELETE"} else "{}")
        assert (answered, bool(answer["error"])) == (status, True)


def test_faults_are_listed_until_they_are_used_or_cleared(sandbox: RunningSandbox) -> None:
    """With everything that was asked for; a key may be named as a number or in hexadecimal."""
    driver = sandbox.driver
    made = driver.add_fault("auth.signIn", error="FLOOD_WAIT_3", delay_ms=5, times=2, user_id=7, auth_key_id=-1)
    assert driver.faults() == [made]
    assert made == {
        "id": made["id"],
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


def test_one_fault_is_removed_and_the_others_stay(sandbox: RunningSandbox) -> None:
    """By its id, once."""
    driver = sandbox.driver
    doomed, kept = driver.add_fault("auth.signIn", silent=True), driver.add_fault("auth.signIn", silent=True)
    assert driver.remove_fault(doomed["id"]) == {"removed": 1}
    assert driver.faults() == [kept]
    with pytest.raises(SandboxRefusedError, match="no such fault"):
        driver.remove_fault(doomed["id"])


async def test_login_tokens_are_listed_while_a_phone_could_scan_them(clients: TelethonClients) -> None:
    """With the device that shows them and whom it does not want; not once they are scanned, and not what ran out."""
    driver = clients.sandbox.driver
    alice, bob = driver.create_account(), driver.create_account()
    client = await clients.connect(device_model="A laptop", app_version="7.1")
    before = {token["auth_key_id"] for token in driver.login_tokens()}
    exported = await export(client, [bob["id"]])
    (waiting,) = [token for token in driver.login_tokens() if token["auth_key_id"] not in before]
    assert waiting["url"] == login_url(exported.token)
    assert (waiting["device_model"], waiting["app_version"], waiting["dc_id"]) == ("A laptop", "7.1", 2)
    assert waiting["except_ids"] == [bob["id"]]
    assert datetime.fromisoformat(waiting["expires_at"]).timestamp() == pytest.approx(
        exported.expires.timestamp(), abs=1
    )
    driver.scan(alice["id"], waiting["url"])
    assert waiting not in driver.login_tokens()


async def test_a_login_token_that_ran_out_waits_no_more(own_clients: OwnClients) -> None:
    """The list empties by itself, and fills again with the device's next token."""
    clients = own_clients(token_seconds=0.3)
    client = await clients.connect()
    first = await export(client)
    async with asyncio.timeout(10):
        while clients.sandbox.driver.login_tokens():  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.02)
    await renewed(client, first)
    assert len(clients.sandbox.driver.login_tokens()) == 1


async def test_a_password_is_set_changed_and_removed(clients: TelethonClients) -> None:
    """Who is logged in stays so; a new login is asked for the password, as it is now; none waits for one that is gone."""
    driver = clients.sandbox.driver
    alice = driver.create_account(accept="at_once")
    old = await clients.log_in(alice)
    driver.set_password(alice["id"], "first")
    shown = driver.set_password(alice["id"], "second", hint="a number")
    assert (shown["has_password"], shown["hint"]) == (True, "a number")
    assert await own_id(old) == alice["id"]
    assert await own_id(await clients.log_in(alice, password="second")) == alice["id"]
    waiting = await clients.connect()
    await clients.scan(alice, await export(waiting))
    with pytest.raises(SessionPasswordNeededError):
        await export(waiting)
    for _ in range(2):
        shown = driver.remove_password(alice["id"])
        assert (shown["has_password"], shown["hint"]) == (False, None)
    assert isinstance(await export(waiting), types.auth.LoginTokenSuccess)
    assert await own_id(waiting) == alice["id"]


async def test_the_latest_codes_of_all_phones(clients: TelethonClients) -> None:
    """Each with whose phone it reached, the oldest first."""
    driver = clients.sandbox.driver
    people = [driver.create_account() for _ in range(2)]
    for person in people:
        await (await clients.connect()).send_code_request("+" + person["phone"])
    latest = driver.latest_messages()[-2:]
    assert [message.pop("account_id") for message in latest] == [person["id"] for person in people]
    assert latest == [driver.messages(person["id"])[-1] for person in people]


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
    """Nothing comes from elsewhere, and the browser is told to allow nothing else."""
    page = requests.get(sandbox.control + "/phone", timeout=10)
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self';")
    parts = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert parts == ["phone/phone.css", "phone/main.js"]
    kinds = {"css": "text/css", "js": "text/javascript"}
    for part in parts:
        answer = requests.get(f"{sandbox.control}/{part}", timeout=10)
        assert answer.headers["Content-Type"].startswith(kinds[part.rpartition(".")[2]])
        assert "http" not in answer.text
    assert "http" not in page.text


def test_only_loopback_is_served(make_sandbox: SandboxMaker) -> None:
    """It has no password: 0.0.0.0 is refused."""
    with pytest.raises(SandboxStartError, match="loopback"):
        make_sandbox(host="0.0.0.0")


def test_a_taken_port_is_one_clear_line(sandbox: RunningSandbox, make_sandbox: SandboxMaker) -> None:
    """Not a traceback."""
    with pytest.raises(SandboxStartError, match=f"cannot listen on port {sandbox.dcs[2]}") as failure:
        make_sandbox(dc_ports=sandbox.dcs[2])
    assert "Traceback" not in str(failure.value)
