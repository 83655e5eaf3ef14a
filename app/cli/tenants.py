"""``tenant`` and ``api-key``: who may use this installation, and with what."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any

import click
from pydantic import ValidationError

from app.backups.bucket import make_bucket
from app.cli.custody import open_core, progress_bar
from app.cli.database import cli_actor, open_transactions
from app.cli.output import json_option, print_one, print_rows
from app.errors import InvalidInput, Unavailable
from app.logins.withdrawing import withdraw_api_key, withdraw_tenant
from app.purging import purge_tenants, read_purge, request_purge
from app.tenants.changes import MAY_BE_TAKEN_BACK, BrandChanges, OperatorChanges
from app.tenants.keys import SCOPES, change_api_key, create_api_key, list_api_keys
from app.tenants.own_settings import change_tenant, read_tenant_settings
from app.tenants.store import TENANT_ID_PATTERN, create_tenant, enable_tenant, list_tenants


@click.group()
def tenant() -> None:
    """Tenants: make, list, show, set, disable, enable, purge."""


@tenant.command("create")
@click.argument("tenant_id")
@click.option("--name", help="For people; the id, unless given.")
@json_option
def _create_tenant(tenant_id: str, name: str | None, as_json: bool) -> None:
    """Make a tenant with the id TENANT_ID (small letters, digits, - and _)."""
    if not re.fullmatch(TENANT_ID_PATTERN, tenant_id):
        raise click.BadParameter("must be small letters, digits, - and _, at most 63", param_hint="TENANT_ID")
    with open_transactions() as transaction:
        made = create_tenant(transaction, actor=cli_actor(), tenant_id=tenant_id, name=name or tenant_id)
    print_one(made, as_json=as_json)


@tenant.command("list")
@json_option
def _list_tenants(as_json: bool) -> None:
    """List tenants."""
    with open_transactions() as transaction:
        rows = list_tenants(transaction)
    print_rows(rows, columns=("id", "name", "created_at", "disabled_at"), as_json=as_json)


@tenant.command("show")
@click.argument("tenant_id")
@json_option
def _show_tenant(tenant_id: str, as_json: bool) -> None:
    """Show the settings of TENANT_ID; of its api_hash and its proxy only whether there are any."""
    with open_core() as core:
        shown = read_tenant_settings(core, tenant_id=tenant_id)
    print_one(shown, as_json=as_json)


@tenant.command("set")
@click.argument("tenant_id")
@click.option("--name", help="For people.")
@click.option("--redirect-url", "redirect_urls", multiple=True, help="Where the page may lead; may be repeated.")
@click.option("--origin", "origins", multiple=True, help="Which pages may embed the page; may be repeated.")
@click.option("--brand-name", help="What the hosted page calls it.")
@click.option("--accent", help="The colour of the hosted page's buttons: #rrggbb.")
@click.option("--api-id", type=int, help="Its own application's at Telegram. The api_hash is asked for.")
@click.option("--api-hash", help="With --api-id; left out, it is asked for, so that no list of processes shows it.")
@click.option("--device-model", help="What Telegram lists under Devices, of new sessions.")
@click.option("--system-version", help="As --device-model.")
@click.option("--app-version", help="As --device-model.")
@click.option(
    "--proxy",
    prompt="Proxy",
    prompt_required=False,
    hide_input=True,
    help="The way to Telegram for new logins: socks5://user:password@host:1080. Without a value it is asked for.",
)
@click.option("--max-idle-days", "session_max_idle_days", type=int, help="Log out sessions that were unused so long.")
@click.option(
    "--take-back",
    "taken_back",
    multiple=True,
    type=click.Choice([*MAY_BE_TAKEN_BACK, "redirect_urls", "origins", "brand"]),
    help="Go by the installation's own setting again; lists and brand: none. May be repeated.",
)
@json_option
def _set_tenant(tenant_id: str, taken_back: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Change settings of TENANT_ID; what is not named stays.

    What Telegram is told is for logins that begin from now on: sessions keep what they were made with.
    """
    if options["api_id"] is not None and options["api_hash"] is None:
        options["api_hash"] = click.prompt("api_hash", hide_input=True)
    changes = _read_changes(options, taken_back)
    with open_core() as core:
        if changes.brand is not None and "brand" not in taken_back:
            # One part of a brand at a time here; over HTTP it is replaced whole.
            kept = read_tenant_settings(core, tenant_id=tenant_id).brand.model_dump(exclude_none=True)
            changes.brand = BrandChanges(**kept | changes.brand.model_dump(exclude_none=True))
        changed = change_tenant(core, actor=cli_actor(), tenant_id=tenant_id, changes=changes)
    print_one(changed, as_json=as_json)


def _read_changes(options: dict[str, Any], taken_back: tuple[str, ...]) -> OperatorChanges:
    brand = {"name": options.pop("brand_name"), "accent": options.pop("accent")}
    said: dict[str, Any] = {name: value for name, value in options.items() if value not in (None, ())}
    said |= {name: list(said[name]) for name in ("redirect_urls", "origins") if name in said}
    if any(brand.values()):
        said["brand"] = brand
    emptied: dict[str, Any] = {"redirect_urls": [], "origins": [], "brand": {}}
    said |= {name: emptied.get(name) for name in taken_back}
    if "api_id" in taken_back or "api_hash" in taken_back:
        said |= {"api_id": None, "api_hash": None}
    try:
        return OperatorChanges(**said)
    except ValidationError as exc:
        # Field and message only: the error's own text repeats the value.
        errors = tuple((".".join(map(str, error["loc"])), error["msg"]) for error in exc.errors())
        raise InvalidInput(
            "; ".join(f"{field} {message.removeprefix('Value error, ')}" for field, message in errors), errors=errors
        ) from None


@tenant.command("disable")
@click.argument("tenant_id")
@json_option
def _disable_tenant(tenant_id: str, as_json: bool) -> None:
    """Stop TENANT_ID: its API keys, its logins, its leases. Its sessions stay as they are."""
    with open_transactions() as transaction:
        withdrawn = withdraw_tenant(transaction, actor=cli_actor(), tenant_id=tenant_id)
    print_one(withdrawn.tenant, as_json=as_json)


@tenant.command("enable")
@click.argument("tenant_id")
@json_option
def _enable_tenant(tenant_id: str, as_json: bool) -> None:
    """Let the API keys of TENANT_ID work again."""
    with open_transactions() as transaction:
        enabled = enable_tenant(transaction, actor=cli_actor(), tenant_id=tenant_id)
    print_one(enabled, as_json=as_json)


@tenant.command("purge")
@click.argument("tenant_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--wait-seconds",
    type=click.IntRange(min=0),
    default=900,
    show_default=True,
    help="How long to wait for the workers' log-outs. The purge goes on by itself after that.",
)
@json_option
def _purge_tenant(tenant_id: str, yes: bool, wait_seconds: int, as_json: bool) -> None:
    """Erase all that is kept of TENANT_ID, for good, and print a report.

    Its sessions are logged out at Telegram (by the workers, which must be running), then its backups, all versions of them, and
    its rows are erased. The audit stays for its own retention.
    """
    if not yes:
        click.confirm(f"Log out every session of {tenant_id} and erase all that is kept of it?", abort=True)
    with open_core() as core:
        bucket = make_bucket(core.settings) if core.settings.s3_bucket else None
        purge = request_purge(core, tenant_id=tenant_id, actor=cli_actor()).purge
        total, deadline = purge.left, time.monotonic() + wait_seconds
        with progress_bar("logging out") as show:
            while purge.state == "purging":
                purge_tenants(core, bucket, only=tenant_id)
                purge = read_purge(core.transaction, tenant_id=tenant_id)
                show(total - purge.left, total)
                if time.monotonic() > deadline:
                    break
                if purge.state == "purging":
                    time.sleep(1.0)
    print_one(purge, as_json=as_json)
    if purge.state == "purging":
        raise Unavailable(f"{purge.left} log-outs are left. The purge goes on by itself; repeat the command to see.")


@click.group("api-key")
def api_key() -> None:
    """API keys: make (shown once), list, update, revoke."""


@api_key.command("create")
@click.option("--tenant", "tenant_id", required=True, help="Whose key it is.")
@click.option("--scopes", required=True, help=f"Comma-separated, of: {', '.join(SCOPES)}; or all (but admin).")
@click.option("--name", default="", help="What it is for.")
@click.option(
    "--expires-at", type=click.DateTime(("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S")), help="UTC; it stops working then."
)
@click.option("--network", "networks", multiple=True, help="Where it may be used from, as CIDR; may be repeated.")
@json_option
def _create_api_key(
    tenant_id: str, scopes: str, name: str, expires_at: datetime | None, networks: tuple[str, ...], as_json: bool
) -> None:
    """Make an API key and print it. This is the only time that it can be seen."""
    with open_transactions() as transaction:
        made = create_api_key(
            transaction,
            actor=cli_actor(),
            tenant_id=tenant_id,
            scopes=_parse_scopes(scopes),
            name=name,
            expires_at=expires_at.replace(tzinfo=UTC) if expires_at is not None else None,
            networks=networks,
        )
    print_one(made, as_json=as_json)
    if not as_json:
        click.echo("Keep the key now: only its hash is stored.", err=True)


@api_key.command("update")
@click.argument("key_id")
@click.option("--tenant", "tenant_id", required=True, help="Whose key it is.")
@click.option("--name", help="What it is for.")
@click.option(
    "--expires-at", type=click.DateTime(("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S")), help="UTC; it stops working then."
)
@click.option("--never-expires", is_flag=True, help="It stops working when it is revoked, and not before.")
@click.option("--network", "networks", multiple=True, help="Where it may be used from, as CIDR; may be repeated.")
@click.option("--anywhere", is_flag=True, help="It may be used from any address.")
@json_option
def _update_api_key(
    key_id: str,
    tenant_id: str,
    name: str | None,
    expires_at: datetime | None,
    never_expires: bool,
    networks: tuple[str, ...],
    anywhere: bool,
    as_json: bool,
) -> None:
    """Change what the API key KEY_ID is for, until when it works and where from. Its scopes stay."""
    if (expires_at is not None and never_expires) or (networks and anywhere):
        raise click.UsageError(
            "--expires-at and --never-expires exclude each other, and so do --network and --anywhere."
        )
    changes: dict[str, object] = {}
    if name is not None:
        changes["name"] = name
    if expires_at is not None or never_expires:
        changes["expires_at"] = expires_at.replace(tzinfo=UTC) if expires_at is not None else None
    if networks or anywhere:
        changes["networks"] = list(networks)
    if not changes:
        raise click.UsageError("Say what is to change.")
    with open_transactions() as transaction:
        changed = change_api_key(transaction, actor=cli_actor(), tenant_id=tenant_id, key_id=key_id, changes=changes)
    print_one(changed, as_json=as_json)


@api_key.command("list")
@click.option("--tenant", "tenant_id", required=True, help="Whose keys.")
@json_option
def _list_api_keys(tenant_id: str, as_json: bool) -> None:
    """List a tenant's API keys."""
    with open_transactions() as transaction:
        rows = list_api_keys(transaction, tenant_id=tenant_id)
    columns = ("id", "key_prefix", "name", "scopes", "created_at", "last_used_at", "expires_at", "revoked_at")
    print_rows(rows, columns=columns, as_json=as_json)


@api_key.command("revoke")
@click.argument("key_id")
@json_option
def _revoke_api_key(key_id: str, as_json: bool) -> None:
    """Stop the API key KEY_ID from working, at once, with the logins and leases that it began."""
    with open_transactions() as transaction:
        withdrawn = withdraw_api_key(transaction, actor=cli_actor(), key_id=key_id)
    print_one(withdrawn.api_key, as_json=as_json)


def _parse_scopes(text: str) -> list[str]:
    if text.strip() == "all":
        return [scope for scope in SCOPES if scope != "admin"]
    return [scope.strip() for scope in text.split(",") if scope.strip()]
