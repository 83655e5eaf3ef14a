"""``sessions``: what is connected, what is brought, and what is done to it (``app.cli.session_acts``)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click

from app.cli.custody import open_core
from app.cli.database import cli_actor, open_transactions
from app.cli.output import json_option, print_one, print_rows
from app.cli.session_acts import COMMANDS
from app.database import Transaction
from app.sessions.importing import import_session, import_session_file
from app.sessions.proxies import set_session_proxy
from app.sessions.read import SessionStatus, SessionView, list_sessions, view_session
from app.telegram.session_formats import LIBRARIES, SessionFormat
from app.tenants.store import read_tenant

_PAGE = 200
_SESSION_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def sessions() -> None:
    """Sessions: list, show, import, validate, lease, revoke, change the proxy."""


for _command in COMMANDS:
    sessions.add_command(_command)


@sessions.command("list")
@click.option("--tenant", "tenant_id", required=True, help="Whose sessions.")
@click.option("--status", type=click.Choice(get_args(SessionStatus)), help="Only those in this status.")
@json_option
def _list_sessions(tenant_id: str, status: SessionStatus | None, as_json: bool) -> None:
    """List a tenant's sessions. Session strings are never shown."""
    with open_transactions() as transaction:
        read_tenant(transaction, tenant_id=tenant_id)  # a typing mistake is no tenant without sessions
        rows = list(_every_session(transaction, tenant_id=tenant_id, status=status))
    columns = ("id", "status", "reason", "telegram_user_id", "username", "created_at", "last_validated_at", "key_id")
    print_rows(rows, columns=columns, as_json=as_json)


@sessions.command("import")
@click.option("--tenant", "tenant_id", required=True, help="Whose session it becomes.")
@click.option(
    "--file", "path", type=_SESSION_FILE, help="A .session file of Telethon or Pyrogram, not a string session."
)
@click.option("--format", "session_format", type=click.Choice(list(LIBRARIES)), help="Recognised when it is not said.")
@click.option("--telegram-user-id", type=click.IntRange(min=1), help="Whose it must be at Telegram.")
@json_option
def _import_session(
    tenant_id: str,
    path: Path | None,
    session_format: SessionFormat | None,
    telegram_user_id: int | None,
    as_json: bool,
) -> None:
    """Import a session of Telethon, Pyrogram (Kurigram), GramJS or mtcute.

    Without --file its string session is asked for, or read from standard input, so that it stays out of the shell's history.
    Stop using it yourself before: two users of one session are its end.
    """
    if path is not None and session_format is not None:
        raise click.UsageError("--format goes with a string session: a file says itself what it is.")
    with open_core(sends=True) as core:
        read_tenant(core.transaction, tenant_id=tenant_id)
        if path is not None:
            row = import_session_file(
                core, tenant_id=tenant_id, path=path, telegram_user_id=telegram_user_id, actor=cli_actor()
            )
        else:
            row = import_session(
                core,
                tenant_id=tenant_id,
                session_string=_typed_or_piped(),
                session_format=session_format,
                telegram_user_id=telegram_user_id,
                actor=cli_actor(),
            )
    if as_json:
        print_one(view_session(row), as_json=True)
    else:
        click.echo(f"{row.id} is imported, and active as soon as Telegram has answered.")


def _typed_or_piped() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline()
    typed: str = click.prompt("String session", hide_input=True)
    return typed


@sessions.command("set-proxy")
@click.argument("session_ids", metavar="SESSION_ID...", nargs=-1, required=True)
@click.option("--proxy", prompt="Proxy (empty for none)", default="", show_default=False, hide_input=True)
def _set_proxy(session_ids: tuple[str, ...], proxy: str) -> None:
    """Have each SESSION_ID use another proxy from now on: socks5://user:password@host:1080, or none.

    A session keeps the proxy that it was made through, whatever the settings say later. Without --proxy it is asked for,
    so that its password stays out of the shell's history.
    """
    with open_core() as core:
        for session_id in session_ids:
            set_session_proxy(core, session_id=session_id, proxy=proxy or None, actor=cli_actor())
            click.echo(f"{session_id} uses {'the proxy' if proxy else 'no proxy'} from now on.")


def _every_session(transaction: Transaction, *, tenant_id: str, status: SessionStatus | None) -> Iterator[SessionView]:
    after_id: str | None = None
    while True:
        page = list_sessions(transaction, tenant_id=tenant_id, status=status, after_id=after_id, limit=_PAGE)
        yield from page.data
        if page.next_cursor is None:
            return
        after_id = page.next_cursor
