"""``sessions``: what is connected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import click

from app.cli.output import json_option, print_rows
from app.cli.parts import open_transactions
from app.database import Transaction
from app.sessions.read import SessionStatus, SessionView, list_sessions
from app.tenants.store import read_tenant

_PAGE = 200


@click.group()
def sessions() -> None:
    """Sessions: list."""


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


def _every_session(transaction: Transaction, *, tenant_id: str, status: SessionStatus | None) -> Iterator[SessionView]:
    after_id: str | None = None
    while True:
        page = list_sessions(transaction, tenant_id=tenant_id, status=status, after_id=after_id, limit=_PAGE)
        yield from page.data
        if page.next_cursor is None:
            return
        after_id = page.next_cursor
