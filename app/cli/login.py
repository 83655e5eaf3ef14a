"""``login``: connect an account from the terminal, as a browser would, over the HTTP API."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

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
@click.option("--replace", is_flag=True, help="Log in anew even if an active session serves.")
def login(url: str, api_key: str | None, telegram_user_id: int | None, phone: str | None, replace: bool) -> None:
    """Log in to Telegram here: draws the QR code, asks for the 2FA password."""
    api = Api(url, api_key=api_key or click.prompt("API key", hide_input=True))
    wanted = {"telegram_user_id": telegram_user_id, "phone": phone, "replace": replace or None}
    body = {name: value for name, value in wanted.items() if value is not None}
    started = api.call("POST", "/v1/logins", body | ({"method": "code"} if phone else {}))
    try:
        ended = _converse(api, started)
    except (KeyboardInterrupt, click.Abort):
        _cancel(api, started)
        raise
    _report(ended)


def _converse(api: Api, started: Login) -> Login:
    drawn = waited_in = None
    current = started
    for current in _follow(api, started):
        url = (current["qr"] or {}).get("url")
        if url is not None and url != drawn:
            drawn = url
            _draw(url)
        elif current["retry_after"]:
            click.echo(f"Telegram asks to wait {current['retry_after']} s.")
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


def _draw(url: str) -> None:
    click.echo("\nScan this in Telegram under Settings → Devices → Link Desktop Device:\n")
    segno.make(url, error="l", micro=False).terminal(compact=True, border=2)
    click.echo("\nIt renews itself. Ctrl-C cancels.")


def _answer(api: Api, current: Login, kind: str) -> None:
    if kind == "password":
        hint, left = current["password"]["hint"], current["password"]["attempts_left"]
        question = f"2FA password{f' (hint: {hint})' if hint else ''}, {left} tries left"
    else:
        code = current["code"]
        question = f"Login code ({_where(code)}), {code['attempts_left']} tries left"
    while not _passed_on(api, current, kind, click.prompt(question, hide_input=kind == "password")):
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


def _report(ended: Login) -> None:
    if ended["status"] == "authorized":
        how = "an active session serves" if ended["reused"] else f"account {ended['telegram_user_id']}"
        click.secho(f"Authorized: {how}, session {ended['session_id']}.", fg="green")
        return
    reason = f" ({ended['reason']})" if ended["reason"] else ""
    raise click.ClickException(f"The login ended {ended['status']}{reason}.")
