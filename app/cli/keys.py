"""``keys``: the data encryption keys, rotated, rewrapped and destroyed by hand."""

from __future__ import annotations

from datetime import timedelta

import click

from app.cli.custody import open_core, progress_bar
from app.cli.database import cli_actor
from app.cli.output import json_option, print_report, print_rows
from app.identities import seal_what_is_open
from app.vault.catalogue import list_keys
from app.vault.destruction import destroy_key
from app.vault.rewrapping import rewrap_keys
from app.vault.rotation import RotationReport, rotate_keys


@click.group()
def keys() -> None:
    """Data encryption keys: list, rotate, rewrap, destroy."""


@keys.command("list")
@json_option
def _list(as_json: bool) -> None:
    """List keys with what is sealed under them."""
    with open_core() as core:
        rows = list_keys(core.transaction)
    columns = ("id", "state", "created_at", "state_changed_at", "provider", "wrapping_key_id", "needed_by")
    print_rows(rows, columns=columns, as_json=as_json)


@keys.command("rotate")
@click.option(
    "--force/--if-due",
    default=True,
    help="Make a new key now, or only when the active one is older than KEY_ROTATION_DAYS. Default: now.",
)
@json_option
def _rotate(force: bool, as_json: bool) -> None:
    """Make a new active key and re-seal everything under it.

    May be interrupted at any point; --if-due goes on where it stopped. Everything opens all the while.
    """
    with open_core() as core, progress_bar("re-sealing") as show:
        seal_what_is_open(core.transaction, core.keyring)
        report = rotate_keys(
            transaction=core.transaction,
            keyring=core.keyring,
            actor=cli_actor(),
            max_age=timedelta(days=core.settings.key_rotation_days),
            force=force,
            on_progress=lambda progress: show(*progress),
        )
    if not print_report(report, as_json=as_json):
        _print_rotation(report)
    if report.broken:
        raise click.ClickException(f"{len(report.broken):,} rows do not open; restore them from a backup.")


def _print_rotation(report: RotationReport) -> None:
    new = "new" if report.replaced else "not due, unchanged"
    click.echo(f"active key      {report.active_key_id} ({new})")
    click.echo(f"re-sealed       {report.resealed:,} rows")
    click.echo(f"retired         {', '.join(report.retired) or 'none'}")
    if report.left:
        click.echo(f"under old keys  {report.left:,} rows: live logins, or being written; a later run takes them")
    for record_id in report.broken:
        click.echo(f"{record_id} does not open under its key; it was left as it is", err=True)


@keys.command("rewrap")
def _rewrap() -> None:
    """Wrap every key by the provider and key that the settings name now.

    Touches key rows only. The old provider or KMS key must still be there; keep it until a backup has run.
    """
    with open_core() as core, progress_bar("rewrapping") as show:
        rewrapped = rewrap_keys(transaction=core.transaction, keyring=core.keyring, actor=cli_actor(), on_progress=show)
    click.echo(f"{len(rewrapped)} keys rewrapped" if rewrapped else "every key is wrapped as the settings say already")
    if rewrapped:
        click.echo("The next backup run stores the new wrappings; keep the old key encryption key until then.")


@keys.command("destroy")
@click.argument("key_id")
@click.option("--reason", required=True, help="Why, for the audit.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def _destroy(key_id: str, reason: str, yes: bool) -> None:
    """Destroy the retired key KEY_ID for good. Refused while a row or an unexpired backup needs it."""
    if not yes:
        click.confirm(f"Destroy {key_id}? What it sealed can never be opened again", abort=True)
    with open_core() as core:
        destroy_key(transaction=core.transaction, key_id=key_id, actor=cli_actor(), reason=reason)
    click.echo(f"{key_id} destroyed; processes that have it in memory forget it within 5 minutes")
