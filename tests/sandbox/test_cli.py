"""The command line drives a running sandbox."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sandbox.cli import main
from sandbox.process import RunningSandbox
from tests.sandbox.clients import TelethonClients, export, login_url


def run(sandbox: RunningSandbox, *arguments: object) -> Result:
    """Run a command against the sandbox."""
    return CliRunner().invoke(main, [str(a) for a in arguments], env={"SANDBOX_CONTROL": sandbox.control})


def answer(sandbox: RunningSandbox, *arguments: object) -> Any:
    """Return what a command prints."""
    result = run(sandbox, *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


async def test_a_login_from_the_command_line(clients: TelethonClients) -> None:
    """Create an account, scan, list, end."""
    sandbox = clients.sandbox
    alice = answer(sandbox, "account", "--first-name", "Alice", "--accept", "at_once")
    assert alice in answer(sandbox, "accounts")
    shown = await export(await clients.connect())
    assert login_url(shown.token) in [token["url"] for token in answer(sandbox, "login-tokens")]
    assert answer(sandbox, "scan", alice["id"], login_url(shown.token)) == {"accepted": True}
    listed = answer(sandbox, "authorizations", alice["id"])
    assert len(listed) == 1
    assert answer(sandbox, "authorizations", alice["id"], "--terminate", listed[0]["hash"]) == {"terminated": 1}
    assert answer(sandbox, "messages", alice["id"]) == []
    assert answer(sandbox, "state", alice["id"], "banned")["state"] == "banned"


def test_the_ways_of_an_accounts_codes_from_the_command_line(sandbox: RunningSandbox) -> None:
    """In their order; without them they are the usual ones, and one that there is not is told."""
    assert answer(sandbox, "account", "--code-deliveries", "email,sms")["code_deliveries"] == ["email", "sms"]
    assert answer(sandbox, "account")["code_deliveries"] == ["app", "sms"]
    refused = run(sandbox, "account", "--code-deliveries", "pigeon")
    assert refused.exit_code == 1
    assert "code_deliveries must be a list of: app, sms" in refused.output


def test_faults_network_and_stats_from_the_command_line(sandbox: RunningSandbox) -> None:
    """Add, list, clear; weather; figures."""
    made = answer(sandbox, "faults", "--add", "auth.signIn", "--error", "FLOOD_WAIT_5", "--times", 3)
    assert answer(sandbox, "faults") == [made]
    other = answer(sandbox, "faults", "--add", "auth.signIn", "--silent")
    assert answer(sandbox, "faults", "--remove", other["id"]) == {"removed": 1}
    assert answer(sandbox, "faults", "--clear") == {"cleared": 1}
    assert answer(sandbox, "network", "--latency-ms", 7)["latency_ms"] == 7
    assert answer(sandbox, "network", "--mode", "ok", "--latency-ms", 0, "--cut-all")["latency_ms"] == 0
    assert "handshakes" in answer(sandbox, "stats")


def test_a_password_from_the_command_line(sandbox: RunningSandbox) -> None:
    """Set with a hint, and removed; neither or both at once is a mistake."""
    alice = answer(sandbox, "account")["id"]
    assert answer(sandbox, "password", alice, "--set", "secret", "--hint", "the usual")["hint"] == "the usual"
    assert answer(sandbox, "password", alice, "--remove")["has_password"] is False
    for mistake in ((), ("--set", "secret", "--remove")):
        refused = run(sandbox, "password", alice, *mistake)
        assert (refused.exit_code, "want either --set or --remove" in refused.output) == (2, True)


def test_mistakes_are_one_line(sandbox: RunningSandbox) -> None:
    """What the sandbox refused, or that none answers."""
    refused = run(sandbox, "scan", sandbox.driver.create_account()["id"], "tg://login?token=AAAA")
    assert (refused.exit_code, refused.output) == (1, "Error: AUTH_TOKEN_INVALID\n")
    nobody = run(sandbox, "stats", "--control", "http://127.0.0.1:9")
    assert (nobody.exit_code, nobody.output) == (1, "Error: no sandbox answers at http://127.0.0.1:9\n")


@pytest.mark.parametrize("ports", ["x", "1,2,3,4,5,6", "70000"])
def test_senseless_ports_are_refused(ports: str) -> None:
    """Before anything starts."""
    result = CliRunner().invoke(main, ["serve", "--public-key-file", "unused.pem", "--dc-ports", ports])
    assert result.exit_code == 2
    assert "ports" in result.output
