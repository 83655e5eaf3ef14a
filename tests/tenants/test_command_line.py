"""``python -m app``: tenants, keys, sessions, migrations, the doctor."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.cli import cli
from app.core import Core
from app.models import TelegramSession
from app.tenants.keys import authenticate
from tests.tenants.commands import Run, answer

ROOT = Path(__file__).parents[2]


def test_every_command_describes_itself(run: Run) -> None:
    """--help of each works, and says what it does."""
    top = run("--help")
    assert top.exit_code == 0
    for name in cli.list_commands(None):  # type: ignore[arg-type]  # ours needs no context
        described = run(name, "--help")
        assert described.exit_code == 0, described.output
        assert name in top.output
        command = cli.get_command(None, name)  # type: ignore[arg-type]  # nor here
        assert command is not None
        shown = next(line for line in top.output.splitlines() if line.split()[:1] == [name])
        assert command.get_short_help_str(1000).startswith(shown.strip().removeprefix(name).strip().rstrip("."))


def test_to_describe_the_commands_imports_none(run: Run) -> None:
    """--help is what one asks for first: it must not take the seconds that all of them take."""
    listing = "import sys, app.cli; app.cli.cli(['--help'], standalone_mode=False); print('sqlalchemy' in sys.modules)"
    printed = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert printed.endswith("False\n")


def test_a_tenant_and_its_key_are_made(run: Run, core: Core) -> None:
    """JSON for programs; the key works until it is revoked."""
    assert answer(run("tenant", "create", "carol", "--json"))["id"] == "carol"  # type: ignore[index]
    made = answer(run("api-key", "create", "--tenant", "carol", "--scopes", "logins, audit", "--json"))
    assert isinstance(made, dict)
    assert authenticate(core.read_row, core.transaction, key=made["key"]).caller.scopes == {"logins", "audit"}
    listed = run("api-key", "list", "--tenant", "carol")
    assert made["id"] in listed.output
    assert made["key"] not in listed.output
    assert answer(run("api-key", "revoke", made["id"], "--json"))["revoked_at"] is not None  # type: ignore[index]
    assert answer(run("tenant", "disable", "carol", "--json"))["disabled_at"] is not None  # type: ignore[index]
    assert "carol" in run("tenant", "list").output


@pytest.mark.parametrize(
    ("words", "exit_code", "says"),
    [
        (("tenant", "create", "alice"), 1, "There is a tenant alice already."),
        (("tenant", "create", "No Spaces"), 2, "small letters"),
        (("tenant", "disable", "nobody"), 1, "There is no tenant nobody."),
        (("api-key", "create", "--tenant", "alice", "--scopes", "root"), 1, "There is no scope root."),
        (("api-key", "create", "--tenant", "alice"), 2, "--scopes"),
        (("api-key", "revoke", "key_none"), 1, "There is no API key key_none."),
        (("sessions", "list", "--tenant", "alice", "--status", "gone"), 2, "gone"),
        (("nonsense",), 2, "nonsense"),
    ],
)
def test_an_error_is_one_clear_line(run: Run, words: tuple[str, ...], exit_code: int, says: str) -> None:
    """No traceback; 2 for bad usage, 1 for a refusal."""
    refused = run(*words)
    assert refused.exit_code == exit_code
    assert says in refused.output
    assert "Traceback" not in refused.output


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("DATABASE_URL", "mysql://x", "DATABASE_URL"),
        ("TELEGRAM_API_ID", "", "TELEGRAM_API_ID"),
        ("TELEGRAM_API_ID", "99999999999", "TELEGRAM_API_ID"),
        ("TELEGRAM_API_HASH", " ", "TELEGRAM_API_HASH is not set"),
        ("TELEGRAM_DC_ADDRESS", "2:host:\u00b2", "TELEGRAM_DC_ADDRESS"),
        ("TELEGRAM_PUBLIC_KEY_FILE", __file__, "TELEGRAM_PUBLIC_KEY_FILE"),
        ("TELEGRAM_PROXY", "socks5://alice:secret@host:99999", "TELEGRAM_PROXY"),
        ("DATABASE_URL", "postgresql://alice:secret@host:port/x", "DATABASE_URL"),
        ("REDIS_URL", "redis://:secret@host:port", "REDIS_URL"),
        ("PUBLIC_URL", "latchkey.example", "PUBLIC_URL"),
        ("S3_ENDPOINT_URL", "localhost", "S3_ENDPOINT_URL"),
        ("KEY_ROTATION_DAYS", "inf", "KEY_ROTATION_DAYS"),
        ("LOCAL_KEY_FILE", "/nowhere/key", "LOCAL_KEY_FILE"),
        ("LOCAL_KEY_FILE", __file__, "LOCAL_KEY_FILE"),
    ],
)
def test_a_senseless_setting_is_named(run: Run, setting: str, value: str, says: str) -> None:
    """Exit code 2 and one line with the setting's name, and without a secret that is in it."""
    refused = run("tenant", "list", **{setting: value})
    assert "secret" not in refused.output
    assert refused.exit_code == 2
    assert says in refused.output
    assert len(refused.output.strip().splitlines()) == 1


def test_an_empty_setting_is_not_set(run: Run) -> None:
    """``NAME=`` means the default, as compose files and shells write it."""
    assert run("tenant", "list", QR_TTL_SECONDS="", PUBLIC_URL="", METRICS_PORT=" ", LOG_LEVEL="info").exit_code == 0


def test_a_database_that_is_away_is_one_line(run: Run) -> None:
    """Whatever the command."""
    for words in (("tenant", "list"), ("migrate",), ("migrate", "--check")):
        refused = run(*words, DATABASE_URL="postgresql://x@127.0.0.1:1/x")
        assert refused.exit_code == 1
        assert refused.output.startswith("Error: The database cannot be reached")
        assert len(refused.output.strip().splitlines()) == 1


def test_sessions_are_listed(run: Run, core: Core) -> None:
    """Those of one tenant, by status."""
    with core.transaction() as db:
        for number, status in enumerate(("active", "revoked")):
            db.add(
                TelegramSession(
                    id=f"ses_{number}", tenant_id="alice", telegram_user_id=number + 1, dc_id=2, status=status
                )
            )
    assert [row["id"] for row in answer(run("sessions", "list", "--tenant", "alice", "--json"))] == ["ses_0", "ses_1"]  # type: ignore[attr-defined]
    only = run("sessions", "list", "--tenant", "alice", "--status", "revoked")
    assert "ses_1" in only.output
    assert "ses_0" not in only.output
    assert "There is no tenant alcie" in run("sessions", "list", "--tenant", "alcie").output


def test_migrate_brings_an_empty_database_up(run: Run, empty_database: Callable[[], str]) -> None:
    """--check exits with 1 before, and with 0 after; running twice is fine."""
    url = empty_database()
    before = run("migrate", "--check", DATABASE_URL=url)
    assert before.exit_code == 1
    assert "at revision none" in before.output
    for _ in range(2):
        assert run("migrate", DATABASE_URL=url).exit_code == 0
    assert run("migrate", "--check", DATABASE_URL=url).exit_code == 0


def test_a_tenant_is_purged_and_the_report_printed(run: Run) -> None:
    """It asks first; the report is a table for people and JSON for programs."""
    answer(run("tenant", "create", "carol", "--json"))
    refused = run("tenant", "purge", "carol", typed="n\n")
    assert refused.exit_code == 1
    done = run("tenant", "purge", "carol", "--yes")
    assert done.exit_code == 0, done.output
    assert "purged" in done.stdout
    again = answer(run("tenant", "purge", "carol", "--yes", "--json"))
    assert isinstance(again, dict)
    assert (again["state"], again["sessions"]) == ("purged", 0)
    missing = run("tenant", "purge", "nobody", "--yes")
    assert (missing.exit_code, missing.stderr.strip()) == (1, "Error: There is no tenant nobody.")


def test_a_tenants_settings_are_shown_and_set(run: Run, core: Core) -> None:
    """As over HTTP; secrets are asked for and never shown, and an error repeats none."""
    words = ("--name", "Alice & Co", "--api-id", "4711", "--origin", "https://app.example", "--accent", "#2481CC")
    done = run(
        "tenant", "set", "alice", *words, "--proxy", "--json", typed="socks5://u:hunter2@203.0.113.9:1080\n" + "f" * 32
    )
    assert done.exit_code == 0, done.output
    told = answer(run("tenant", "show", "alice", "--json"))
    assert isinstance(told, dict)
    assert (told["name"], told["api_id"], told["api_hash_set"], told["proxy_set"]) == ("Alice & Co", 4711, True, True)
    assert run("tenant", "set", "alice", "--brand-name", "Acme").exit_code == 0
    told = answer(run("tenant", "set", "alice", "--take-back", "api_id", "--take-back", "origins", "--json"))
    assert isinstance(told, dict)
    assert (told["api_id"], told["api_hash_set"], told["proxy_set"], told["origins"]) == (None, False, True, [])
    assert (told["brand"]["name"], told["brand"]["accent"]) == ("Acme", "#2481cc")
    refused = run("tenant", "set", "alice", "--proxy", "ftp://u:hunter2@203.0.113.9:1")
    assert (refused.exit_code, "proxy must look like socks5://" in refused.stderr) == (1, True)
    assert "hunter2" not in refused.output + done.output
    assert run("tenant", "set", "nobody", "--name", "x").exit_code == 1
