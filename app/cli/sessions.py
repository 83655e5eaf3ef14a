"""``sessions``: what is connected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import click

from app.cli.custody import open_core
from app.cli.database import cli_actor, open_transactions
from app.cli.output import json_option, print_rows
from app.database import Transaction
from app.sessions.proxies import set_session_proxy
from app.sessions.read import SessionStatus, SessionView, list_sessions
from app.tenants.store import read_tenant

_PAGE = 200


@click.group()
def sessions() -> None:
    """Sessions: list, change the proxy."""


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
