"""``webhooks``: a tenant's webhook endpoints, what they were sent, and sending it again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from app.cli.custody import open_core
from app.cli.database import cli_actor
from app.cli.output import json_option, print_one, print_rows
from app.errors import InvalidInput
from app.webhooks.endpoints import (
    change_endpoint,
    create_endpoint,
    delete_endpoint,
    list_endpoints,
    rotate_secret,
)
from app.webhooks.outbox import EVENT_TYPES
from app.webhooks.replays import list_deliveries, replay_event, replay_since, send_test

tenant_option = click.option("--tenant", "tenant_id", required=True, help="Whose webhooks.")
events_option = click.option("--events", help=f"Comma-separated, of: {', '.join(EVENT_TYPES)}; or all.")


@click.group()
def webhooks() -> None:
    """Webhooks: make, list, change, delete, test, rotate the secret, deliveries, replay."""


@webhooks.command("create")
@click.argument("url")
@tenant_option
@events_option
@json_option
def _create(url: str, tenant_id: str, events: str | None, as_json: bool) -> None:
    """Send the tenant's events to URL. The secret is printed this once."""
    with open_core() as core:
        made = create_endpoint(core, tenant_id=tenant_id, actor=cli_actor(), url=url, events=_parse_events(events))
    print_one(made, as_json=as_json)


@webhooks.command("list")
@tenant_option
@json_option
def _list(tenant_id: str, as_json: bool) -> None:
    """List a tenant's webhooks."""
    with open_core() as core:
        rows = list_endpoints(core, tenant_id=tenant_id)
    print_rows(rows, columns=("id", "url", "events", "enabled", "disabled_reason", "failing_since"), as_json=as_json)


@webhooks.command("update")
@click.argument("webhook_id")
@tenant_option
@click.option("--url", help="Where to.")
@events_option
@click.option("--enable/--disable", "enabled", default=None, help="Go on, or stop.")
@json_option
def _update(
    webhook_id: str, tenant_id: str, url: str | None, events: str | None, enabled: bool | None, as_json: bool
) -> None:
    """Change WEBHOOK_ID; what is not named stays."""
    changes: dict[str, Any] = {"url": url, "enabled": enabled}
    changes = {name: value for name, value in changes.items() if value is not None}
    if events is not None:
        changes["events"] = _parse_events(events)
    with open_core() as core:
        changed = change_endpoint(core, tenant_id=tenant_id, actor=cli_actor(), endpoint_id=webhook_id, changes=changes)
    print_one(changed, as_json=as_json)


@webhooks.command("delete")
@click.argument("webhook_id")
@tenant_option
@json_option
def _delete(webhook_id: str, tenant_id: str, as_json: bool) -> None:
    """Delete WEBHOOK_ID and its deliveries."""
    with open_core() as core:
        gone = delete_endpoint(core, tenant_id=tenant_id, actor=cli_actor(), endpoint_id=webhook_id)
    print_one(gone, as_json=as_json)


@webhooks.command("rotate-secret")
@click.argument("webhook_id")
@tenant_option
@json_option
def _rotate_secret(webhook_id: str, tenant_id: str, as_json: bool) -> None:
    """Give WEBHOOK_ID a new secret, printed this once; the old one signs beside it for 24 h."""
    with open_core() as core:
        rotated = rotate_secret(core, tenant_id=tenant_id, actor=cli_actor(), endpoint_id=webhook_id)
    print_one(rotated, as_json=as_json)


@webhooks.command("test")
@click.argument("webhook_id")
@tenant_option
@json_option
def _test(webhook_id: str, tenant_id: str, as_json: bool) -> None:
    """Send WEBHOOK_ID an event webhook.test."""
    with open_core() as core:
        print_one(send_test(core, tenant_id=tenant_id, endpoint_id=webhook_id), as_json=as_json)


@webhooks.command("deliveries")
@click.argument("webhook_id")
@tenant_option
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@json_option
def _deliveries(webhook_id: str, tenant_id: str, limit: int, as_json: bool) -> None:
    """List what WEBHOOK_ID was sent, the newest event first."""
    with open_core() as core:
        page = list_deliveries(core, tenant_id=tenant_id, endpoint_id=webhook_id, before_seq=None, limit=limit)
    columns = ("event_id", "type", "state", "tries", "outcome", "status_code", "last_try_at", "next_try_at")
    print_rows(page.data, columns=columns, as_json=as_json)


@webhooks.command("replay")
@click.argument("webhook_id")
@tenant_option
@click.option("--since", type=click.DateTime(), help="UTC: every event from then on.")
@click.option("--event", "event_id", help="One event.")
@json_option
def _replay(webhook_id: str, tenant_id: str, since: datetime | None, event_id: str | None, as_json: bool) -> None:
    """Send events to WEBHOOK_ID again: one, or all since a time."""
    if (since is None) == (event_id is None):
        raise click.UsageError("Give one of --since and --event.")
    with open_core() as core:
        if since is not None:
            moment = since.replace(tzinfo=UTC)
            done = replay_since(core, tenant_id=tenant_id, endpoint_id=webhook_id, since=moment)
        else:
            done = replay_event(core, tenant_id=tenant_id, endpoint_id=webhook_id, event_id=str(event_id))
    print_one(done, as_json=as_json)


def _parse_events(text: str | None) -> list[str] | None:
    if text is None or text.strip() == "all":
        return None
    events = [event.strip() for event in text.split(",") if event.strip()]
    unknown = [event for event in events if event not in EVENT_TYPES]
    if unknown or not events:
        raise InvalidInput("There are no such events.", errors=(("events", f"must be of: {', '.join(EVENT_TYPES)}"),))
    return events
