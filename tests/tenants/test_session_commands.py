"""``python -m app sessions …`` and what every command says of itself."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from app.cli import cli
from app.cli.examples import EXAMPLES
from app.core import Core
from app.models import TelegramSession
from tests.sessions.rows import give_session
from tests.tenants.commands import Run, answer


def leaves(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its words."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for each in command.list_commands(context):
            child = command.get_command(context, each)
            assert child is not None
            yield from leaves(child, f"{name} {each}".strip())
    else:
        yield name, command


def test_every_command_shows_an_example_that_it_understands(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below its --help; and none is of a command that is gone."""
    (tmp_path / "account.session").touch()
    monkeypatch.setenv("LATCHKEY_URL", "https://latchkey.example")
    monkeypatch.setattr(click.termui, "hidden_prompt_func", lambda _: "")
    commands = dict(leaves(cli))
    assert set(EXAMPLES) == set(commands)
    for name, command in commands.items():
        command.make_context(name, shlex.split(EXAMPLES[name]), resilient_parsing=False).close()
        shown = run(*name.split(), "--help").output
        assert f"python -m app {name}" in shown.split("Example:")[1], name


def test_exit_statuses_are_told(run: Run) -> None:
    """In the help of the whole, and they are what it says."""
    assert "Exit status" in run("--help").output
    assert run("tenant", "list").exit_code == 0
    assert run("sessions", "show", "ses_x", "--tenant", "alice").exit_code == 1
    assert run("sessions", "show").exit_code == 2


def test_a_session_is_shown(run: Run, core: Core) -> None:
    """As a table and as JSON; never its string session; of another tenant it is not found."""
    session_id, string = give_session(core)
    shown = run("sessions", "show", session_id, "--tenant", "alice")
    assert session_id in shown.output
    assert string not in shown.output
    found = answer(run("sessions", "show", session_id, "--tenant", "alice", "--json"))
    assert isinstance(found, dict)
    assert found["status"] == "active"
    refused = run("sessions", "show", session_id, "--tenant", "bob")
    assert (refused.exit_code, "no such session" in refused.output) == (1, True)


def test_a_session_is_leased_renewed_and_released(run: Run, core: Core) -> None:
    """With its string session in the form that is asked for; held against others meanwhile; the audit names who."""
    session_id, string = give_session(core)
    words = ("sessions", "lease", session_id, "--tenant", "alice", "--holder", "support")
    taken: Any = answer(run(*words, "--json"))
    assert taken["session_string"] == string
    second = run(*words)
    assert (second.exit_code, "support" in second.output) == (1, True)
    lease = (session_id, taken["lease_id"], "--tenant", "alice")
    renewed: Any = answer(run("sessions", "renew-lease", *lease, "--ttl-seconds", "3600", "--json"))
    assert renewed["expires_at"] > taken["expires_at"]
    assert run("sessions", "release-lease", *lease).exit_code == 0
    lost = run("sessions", "renew-lease", *lease)
    assert (lost.exit_code, "lost" in lost.output) == (1, True)
    pyrogram: Any = answer(run(*words, "--format", "pyrogram", "--json"))
    assert pyrogram["session_string"] != string


def test_without_workers_a_command_says_so(run: Run, core: Core) -> None:
    """The wish is stored all the same, and the exit status tells a program."""
    session_id, _ = give_session(core)
    validated = run("sessions", "validate", session_id, "--tenant", "alice", "--wait-seconds", "0")
    assert (validated.exit_code, "no worker has looked" in validated.output) == (1, True)
    revoked = run("sessions", "revoke", session_id, "--tenant", "alice", "--wait-seconds", "0")
    assert (revoked.exit_code, "tried until it has" in revoked.output) == (1, True)
    with core.transaction() as db:
        assert db.get_one(TelegramSession, session_id).status == "revoking"


def test_after_a_leak_everything_that_somebody_opened_goes(run: Run, core: Core) -> None:
    """By holder; something must be said, and --all goes alone."""
    opened, _ = give_session(core)
    give_session(core)
    answer(run("sessions", "lease", opened, "--tenant", "alice", "--holder", "old-bot", "--json"))
    words = ("sessions", "revoke-opened", "--tenant", "alice")
    assert run(*words).exit_code == 2
    assert run(*words, "--all", "--holder", "x").exit_code == 2
    assert answer(run(*words, "--all", "--json")) == {"sessions": 2}


@pytest.mark.parametrize(
    "words", [("--name", "website", "--network", "203.0.113.0/24"), ("--expires-at", "2099-01-01")]
)
def test_an_api_key_is_updated(run: Run, words: tuple[str, ...]) -> None:
    """Name, expiry, networks; and back."""
    made: Any = json.loads(run("api-key", "create", "--tenant", "alice", "--scopes", "logins", "--json").stdout)
    key = (made["id"], "--tenant", "alice")
    changed: Any = answer(run("api-key", "update", *key, *words, "--json"))
    assert changed["id"] == made["id"]
    assert (changed["name"], changed["expires_at"]) != (made["name"], made["expires_at"])
    back: Any = answer(run("api-key", "update", *key, "--never-expires", "--anywhere", "--json"))
    assert (back["expires_at"], back["networks"]) == (None, [])
    assert run("api-key", "update", *key).exit_code == 2
