"""``audit``: the chain verified, a tenant's events exported."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from app.cli.database import open_transactions
from app.cli.output import json_option
from app.settings import load_settings
from app.tenants.audit import AuditFilter, export_audit_events
from app.vault.audit_chain import verify_audit


@click.group()
def audit() -> None:
    """The audit: verify that nobody changed it, export it."""


@audit.command("verify")
@click.option("--head", help="A seal as a log line (audit.sealed) named it: the chain must lead to it.")
@json_option
def _verify(head: str | None, as_json: bool) -> None:
    """Follow the chain of hashes over the audit. Exits with 1 when a row was changed or is missing."""
    with open_transactions() as transaction:
        verdict = verify_audit(transaction, retention_days=load_settings().audit_retention_days, head=head)
    if as_json:
        click.echo(json.dumps(verdict._asdict()))
    else:
        click.echo(f"{verdict.rows} events under {verdict.seals} seals, {verdict.unsealed} newer ones")
        click.echo(f"head {verdict.head or 'none yet'}")
        for problem in verdict.problems:
            click.secho(f"BROKEN: {problem}", fg="red")
        if not verdict.problems:
            click.secho("The chain is whole.", fg="green")
    if verdict.problems:
        raise click.exceptions.Exit(1)


@audit.command("export")
@click.option("--tenant", "tenant_id", required=True, help="Whose.")
@click.option("--action", help="Only that: session.opened, say.")
@click.option("--subject", help="Only what was done to this id.")
@click.option("--since", type=click.DateTime(("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S")), help="UTC; only from then on.")
def _export(tenant_id: str, action: str | None, subject: str | None, since: datetime | None) -> None:
    """Print a tenant's events as NDJSON, newest first."""
    only = AuditFilter(action=action, subject=subject, since=since.replace(tzinfo=UTC) if since is not None else None)
    with open_transactions() as transaction:
        for event in export_audit_events(transaction, tenant_id=tenant_id, only=only):
            click.echo(event.model_dump_json())
