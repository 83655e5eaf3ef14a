"""``login``: connect an account from the terminal, as a browser would, over the HTTP API."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO

import click
import segno

from app.cli.http import Api, CallRefused
from app.errors import Transient

_FINAL = frozenset({"authorized", "expired", "failed", "cancelled"})
_LONG_POLL_SECONDS = 25
_TRIES = 15
_PAUSE_SECONDS = 2.0
_TYPE_AGAIN = (422, 429)  # it cannot be the code; too many tries within a minute

_URL_NAMES = ["LATCHKEY_URL", "PUBLIC_URL"]
_API_KEY_NAMES = ["LATCHKEY_API_KEY", "API_KEY"]

Login = dict[str, Any]


@click.command()
@click.option("--url", envvar=_URL_NAMES, required=True, help=f"Where Latchkey is; else {' or '.join(_URL_NAMES)}.")
@click.option(
    "--api-key",
    envvar=_API_KEY_NAMES,
    help=f"A key with the scope logins; else {' or '.join(_API_KEY_NAMES)}, else it is asked for.",
)
@click.option("--telegram-user-id", type=click.IntRange(min=1), help="Who is expected to log in.")
@click.option("--phone", help="Log in by a code sent to this number (+1555…), not by a QR code.")
@click.option("--end-user-id", help="Your own name for the person.")
@click.option("--replace", is_flag=True, help="Log in anew even if an active session serves.")
@click.option("--json", "as_json", is_flag=True, help="Print the ended login as JSON; all else goes to standard error.")
def login(
    url: str,
    api_key: str | None,
    telegram_user_id: int | None,
    phone: str | None,
    end_user_id: str | None,
    replace: bool,
    as_json: bool,
) -> None:
    """Log in to Telegram here: draws the QR code, renews it in place, asks for the 2FA password."""
    api = Api(url, api_key=api_key or click.prompt("API key", hide_input=True))
    screen = _Screen(sys.stderr if as_json else sys.stdout)
    wanted = {
        "telegram_user_id": telegram_user_id,
        "phone": phone,
        "end_user_id": end_user_id,
        "replace": replace or None,
    }
    body = {name: value for name, value in wanted.items() if value is not None}
    started = api.call("POST", "/v1/logins", body | ({"method": "code"} if phone else {}))
    try:
        ended = _converse(api, started, screen)
    except (KeyboardInterrupt, click.Abort):
        _cancel(api, started)
        raise
    if as_json:
        click.echo(json.dumps(ended, indent=2))
    _report(ended, screen)


def _converse(api: Api, started: Login, screen: _Screen) -> Login:
    drawn = waited_in = None
    current = started
    for current in _follow(api, started):
        url = (current["qr"] or {}).get("url")
        if url is not None and url != drawn:
            drawn = url
            screen.draw(url)
        elif current["retry_after"]:
            screen.say(f"Telegram asks to wait {current['retry_after']} s.")
            waited_in = current["status"]
        elif current["status"] == waited_in:
            waited_in = None  # the wait is over: what was typed is checked now, and not to be typed again
        elif current["status"] == "password_required":
            _answer(api, current, "password")
        elif current["status"] == "code_required":
            _answer(api, current, "code")
    return current


def _follow(api: Api, started: Login) -> Iterator[Login]:
    """Yield the login, then each newer version of it, until it is final. Rides out a server that is away for a while."""
    current, failures = started, 0
    yield current
    while current["status"] not in _FINAL:
        try:
            newer = api.call(
                "GET", f"/v1/logins/{started['id']}?wait={_LONG_POLL_SECONDS}&version={current['version']}"
            )
            failures = 0
        except Transient as exc:
            failures += 1
            if failures == _TRIES:
                raise
            click.echo(f"{exc.detail} Trying again…", err=True)
            time.sleep(_PAUSE_SECONDS)
            continue
        if newer["version"] > current["version"]:
            current = newer
            yield current


class _Screen:
    """Where people look: a QR code takes the place of the one before, unless something was said since."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines = 0

    def say(self, line: str, **style: Any) -> None:
        """A line, below whatever is there."""
        self._lines = 0
        click.secho(line, file=self._stream, **style)

    def draw(self, url: str) -> None:
        """The code of a login URL."""
        drawn = io.StringIO()
        segno.make(url, error="l", micro=False).terminal(out=drawn, compact=True, border=2)
        text = (
            f"\nScan this in Telegram under Settings → Devices → Link Desktop Device:\n\n{drawn.getvalue()}"
            "\nIt renews itself. Ctrl-C cancels."
        )
        if self._lines and self._stream.isatty():
            click.echo(f"\x1b[{self._lines}A\x1b[J", nl=False, file=self._stream, color=True)
        click.echo(text, file=self._stream, color=True)
        self._lines = text.count("\n") + 1


def _answer(api: Api, current: Login, kind: str) -> None:
    if kind == "password":
        hint, left = current["password"]["hint"], current["password"]["attempts_left"]
        question = f"2FA password{f' (hint: {hint})' if hint else ''}, {left} tries left"
    else:
        code = current["code"]
        question = f"Login code ({_where(code)}), {code['attempts_left']} tries left"
    while not _passed_on(api, current, kind, click.prompt(question, hide_input=kind == "password", err=True)):
        pass  # the login has not moved on: it is asked again here, or nowhere


def _passed_on(api: Api, current: Login, kind: str, typed: str) -> bool:
    """Pass on what was typed, and tell whether there is nothing more to type now."""
    try:
        api.call("POST", f"/v1/logins/{current['id']}/{kind}", {kind: typed})
    except CallRefused as exc:
        click.echo(exc.detail, err=True)
        return exc.status not in _TYPE_AGAIN  # else the login has moved on meanwhile: its next version says where to
    return True


def _where(code: dict[str, Any]) -> str:
    """Where the user finds a code, in a few words."""
    begins = f", it begins with {code['beginning']}" if code.get("beginning") else ""
    return {
        "email": f"sent by e-mail to {code.get('pattern')}",
        "missed_call": f"the last {code['length']} digits of the number that called",
        "flash_call": "the whole number that called",
        "word": f"a word sent by SMS{begins}",
        "phrase": f"a phrase sent by SMS{begins}",
    }.get(code["delivery"], f"sent by {code['delivery']}")


def _cancel(api: Api, started: Login) -> None:
    try:
        api.call("DELETE", f"/v1/logins/{started['id']}")
    except (CallRefused, Transient):
        return  # it is over already, or ends by itself at its expires_at
    click.echo("\nCancelled.")


def _report(ended: Login, screen: _Screen) -> None:
    if ended["status"] == "authorized":
        how = "an active session serves" if ended["reused"] else f"account {ended['telegram_user_id']}"
        screen.say(f"Authorized: {how}, session {ended['session_id']}.", fg="green")
        return
    reason = f" ({ended['reason']})" if ended["reason"] else ""
    raise click.ClickException(f"The login ended {ended['status']}{reason}.")
