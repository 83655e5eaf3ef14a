"""`make demo`: the whole stack, two people who log in, and what that left behind. Ends everything that it started.

Alice scans a QR code; Bob also has a 2FA password. It talks to the stack as an application would, over HTTP.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from devstack.client import Api, CallFailed, Phone
from devstack.configuration import neutral_environment
from devstack.console import Terminal
from devstack.errors import SetupError
from devstack.folder import remove_folder
from devstack.interrupts import cancel_on_signal
from devstack.qr import qr_lines
from devstack.stack import Stack
from devstack.stored import mean_seconds, metrics_addresses, read_metrics, stored_sessions


@dataclass(frozen=True)
class _Person:
    """Somebody with a phone. ``types`` is what they type when they are asked for their 2FA password."""

    account: Mapping[str, object]
    types: tuple[str, ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        return str(self.account["first_name"])


_ALICE = _Person({"first_name": "Alice", "username": "alice"})
_BOB = _Person(
    {"first_name": "Bob", "username": "bob", "password": "correct horse battery staple", "hint": "the comic"},
    types=("correct horse", "correct horse battery staple"),
)
_STYLES = {"authorized": "bold green", "expired": "red", "failed": "red", "cancelled": "red"}
_NUMBERS = (
    ("logins started", "telethon_auth_qr_start_total"),
    ("QR codes published", "telethon_auth_qr_published_total"),
    ("logins authorized", "telethon_auth_qr_success_total"),
    ("requests to Telegram", "telethon_requests_total"),
    ("flood waits", "telethon_floodwait_total"),
)
_TIMES = (
    ("from POST to QR code", "telethon_time_to_qr_seconds"),
    ("from scan to session", "telethon_scan_to_authorized_seconds"),
    ("cleaning up after a login", "telethon_session_cleanup_duration_seconds"),
)


async def demo(terminal: Terminal) -> int:
    """Run the demo and return its exit status.

    Raises:
        SetupError: the stack cannot run here, or a login did not go as it should; the logs are kept and named.
    """
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="latchkey-demo-"))
    stack = Stack(folder, given=neutral_environment(), report=terminal)
    with cancel_on_signal(again=stack.supervisor.kill):
        try:
            with terminal.checklist("Latchkey, all of it, on free ports of this machine"):
                await stack.__aenter__()
            try:
                await asyncio.to_thread(_show, stack.description, terminal)
            finally:
                await stack.__aexit__(None, None, None)
        except asyncio.CancelledError:
            remove_folder(folder)
            terminal.line("ended")
            return 130
        except (SetupError, CallFailed, requests.RequestException) as error:
            logs = _keep_only_logs(folder)
            raise SetupError(str(error) if str(logs) in str(error) else f"{error} (logs: {logs})") from error
    remove_folder(folder)
    terminal.line()
    terminal.line((f"Everything ended, in {time.monotonic() - began:.0f} s.", "bold green"))
    return 0


def _show(description: Mapping[str, Any], terminal: Terminal) -> None:
    api = Api(description["web"], api_key=description["api_key"])
    sandbox = description["sandbox"]
    _heading(terminal, "Alice scans a QR code")
    _log_in(api, _ALICE, sandbox=sandbox, terminal=terminal)
    _heading(terminal, "Bob scans one, and mistypes his 2FA password first")
    _log_in(api, _BOB, sandbox=sandbox, terminal=terminal)
    _heading(terminal, "What was stored")
    _show_sessions(description["database_url"], terminal)
    _heading(terminal, "What was measured")
    _show_metrics(description, terminal)
    _heading(terminal, "Where to look next")
    _show_next(terminal)


def _log_in(api: Api, person: _Person, *, sandbox: str, terminal: Terminal) -> None:
    """Start a login, let the person's phone scan its code, and show each state as it comes."""
    phone = Phone.of_new_account(sandbox, person.account)
    passwords = iter(person.types)
    began = time.monotonic()

    def say(*parts: str | tuple[str, str]) -> None:
        terminal.line((f"{time.monotonic() - began:7.2f} s  ", "dim"), *parts)

    login = api.start_login(metadata={"who": person.name})
    say(("POST /v1/logins", "bold"), f" → {login['id']}")
    say("its page: ", (login["page_url"].partition("#")[0], "cyan"))
    scanned, attempts_seen = False, 0
    for state in api.follow(login["id"]):
        say((state["status"], _STYLES.get(state["status"], "cyan")), _remark(state))
        if state["status"] == "waiting_for_scan" and state["qr"] and not scanned:
            _draw(state["qr"]["url"], terminal)
            phone.scan(state["qr"]["url"])
            scanned = True
            say(f"{person.name}'s phone has scanned it")
        elif state["password"] and state["password"]["attempts_left"] != attempts_seen:
            attempts_seen = state["password"]["attempts_left"]
            say(("POST /v1/logins/…/password", "bold"), f" by {person.name}")
            api.send_password(login["id"], next(passwords))
    if state["status"] != "authorized":
        raise CallFailed(f"{person.name}'s login ended {state['status']} ({state['reason']})")


def _remark(state: Mapping[str, Any]) -> str:
    if state["status"] == "waiting_for_scan" and state["qr"]:
        return f"  a code that is renewed at {_time_of_day(state['qr']['expires_at'])}"
    if state["status"] == "password_required" and state["password"]:
        return f"  hint: {state['password']['hint']}; {state['password']['attempts_left']} attempts left"
    if state["status"] == "authorized":
        return f"  user {state['telegram_user_id']}, session {state['session_id']}"
    return f"  {state['reason']}" if state["reason"] else ""


def _time_of_day(moment: str) -> str:
    return moment.partition("T")[2][:8] + " UTC"


def _draw(url: str, terminal: Terminal) -> None:
    terminal.line()
    for line in qr_lines(url, unicode=terminal.unicode):
        terminal.line("    ", (line, "bright_white on black"))
    terminal.line()


def _show_sessions(database_url: str, terminal: Terminal) -> None:
    sessions = stored_sessions(database_url)
    if len(sessions) != len((_ALICE, _BOB)) or not all(session.is_sealed for session in sessions):
        raise CallFailed(f"PostgreSQL should hold two sealed sessions, and holds {len(sessions)}")
    for session in sessions:
        terminal.line(f"  {session.first_name:<7}", (session.id, "cyan"), f"  Telegram user {session.telegram_user_id}")
        terminal.line(f"  {'':<7}data centre {session.dc_id}, in PostgreSQL: ", (_beginning(session.sealed), "magenta"))
        terminal.line(f"  {'':<7}sealed with {session.key_id}")
    terminal.line("  Each is a Fernet token under a key that is derived for its row alone: the")
    terminal.line("  session string stands nowhere in the open, and no token opens in another row.")


def _show_metrics(description: Mapping[str, Any], terminal: Terminal) -> None:
    metrics = read_metrics(metrics_addresses(description))
    for label, name in _NUMBERS:
        terminal.line(f"  {label:<26}", (f"{metrics.get(name, 0.0):8.0f}", "bold"), ("   " + name, "dim"))
    for label, name in _TIMES:
        mean = mean_seconds(metrics, name)
        shown = "none yet" if mean is None else f"{mean:6.2f} s"
        terminal.line(f"  {label:<26}", (f"{shown:>8}", "bold"), ("   " + name, "dim"))


def _show_next(terminal: Terminal) -> None:
    for command, purpose in (
        ("make up", "this stack until Ctrl-C: API docs, Flower, the sandbox's phone"),
        ("make test", "the whole test suite, on the same real parts"),
        ("README.md", "how it works, its commands, how it runs in production"),
    ):
        terminal.line("  ", (f"{command:<11}", "cyan"), purpose)


def _heading(terminal: Terminal, text: str) -> None:
    terminal.line()
    terminal.line((text, "bold"))


def _beginning(sealed: bytes) -> str:
    return f"{sealed[:20].decode()}… {len(sealed)} bytes"


def _keep_only_logs(folder: Path) -> Path:
    """Remove everything of a stack but its logs, and return where they are."""
    remove_folder(folder, keep="logs")
    return folder / "logs"
