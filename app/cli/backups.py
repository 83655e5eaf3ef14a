"""``backup`` and ``restore``: what beat does, by hand, and the way back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from app.backups.bucket import make_bucket
from app.backups.expiry import expire_backups
from app.backups.restoring import LONGEST_LEASE, RestoreReport, restore_sessions
from app.backups.run import back_up_sessions
from app.backups.status import read_status
from app.backups.verifying import verify_backups
from app.cli.custody import open_core, progress_bar
from app.cli.database import cli_actor
from app.cli.output import json_option, print_one, print_report
from app.database import unavailable_when_away
from app.errors import Conflict, Unavailable
from app.migrations import current_revision, migrate

_OUTCOMES = {"gaps": "no backup of"}
_BUSY = "Another run is under way; it does the work."


@click.group()
def backup() -> None:
    """Backups: run, verify, expire, status."""


@backup.command("run")
@json_option
def _run(as_json: bool) -> None:
    """Back up every session that changed since its last backup."""
    with open_core() as core, progress_bar("backing up") as show:
        report = back_up_sessions(
            transaction=core.transaction,
            engine=core.engine,
            keyring=core.keyring,
            bucket=make_bucket(core.settings),
            metrics=core.metrics,
            limit_seconds=24 * 3600,
            on_progress=show,
        )
    if report is None:
        raise Conflict(_BUSY)
    if not print_report(report, as_json=as_json):
        click.echo(f"{report.backed_up:,} backed up, {report.erased:,} tombstones, {report.failed:,} failed")
    if report.failed:
        raise Unavailable("Some objects could not be stored; the next run tries them again.")


@backup.command("verify")
@click.option("--sample", type=click.IntRange(min=1), default=20, show_default=True, help="How many sessions.")
@json_option
def _verify(sample: int, as_json: bool) -> None:
    """Download and open the newest backups of sessions chosen at random."""
    with open_core() as core, progress_bar("verifying") as show:
        report = verify_backups(
            transaction=core.transaction,
            engine=core.engine,
            trusted=core.settings.trusted_wrapping_keys,
            keyring=core.keyring,
            bucket=make_bucket(core.settings),
            metrics=core.metrics,
            actor=cli_actor(),
            sample=sample,
            on_progress=show,
        )
    if not print_report(report, as_json=as_json):
        click.echo(f"{len(report.verified):,} opened")
    for outcome in () if as_json else ("corrupt", "missing", "unavailable", "gaps", "foreign"):
        for what in getattr(report, outcome):
            click.echo(f"{_OUTCOMES.get(outcome, outcome):>11}  {what}", err=True)
    if not report.good:
        raise click.ClickException(
            "Not every backup opens. What is corrupt or missing is backed up again by the next run."
        )


@backup.command("expire")
@json_option
def _expire(as_json: bool) -> None:
    """Delete from the bucket what was superseded longer ago than BACKUP_RETENTION_DAYS."""
    with open_core() as core:
        report = expire_backups(
            transaction=core.transaction,
            engine=core.engine,
            keyring=core.keyring,
            bucket=make_bucket(core.settings),
            metrics=core.metrics,
            retention=timedelta(days=core.settings.backup_retention_days),
            trusted=core.settings.trusted_wrapping_keys,
            limit_seconds=24 * 3600,
        )
    if report is None:
        raise Conflict(_BUSY)
    if print_report(report, as_json=as_json):
        return
    click.echo(f"{report.expired:,} of {report.looked_at:,} objects expired, {report.kept:,} are kept by the bucket")
    for object_key in report.foreign:
        click.echo(f"{'not ours':>11}  {object_key}", err=True)


@backup.command("status")
@json_option
def _status(as_json: bool) -> None:
    """Say what is backed up and what is due."""
    with open_core() as core:
        status = read_status(core.transaction)
    print_one(status, as_json=as_json)


@click.command()
@click.option("--run", "for_real", is_flag=True, help="Write. Without it nothing is written: a dry run.")
@click.option("--dry-run", is_flag=True, help="Do everything but write (the default).")
@click.option("--at", metavar="TIME", help="Bring back what was backed up then: RFC 3339, as 2026-01-31T12:00:00Z.")
@click.option("--tenant", "tenant_id", help="Only this tenant's sessions.")
@click.option(
    "--validate-after",
    type=click.IntRange(min=0),
    default=int(LONGEST_LEASE.total_seconds()),
    show_default=True,
    metavar="SECONDS",
    help="How long restored sessions wait for their validation: as long as somebody may still use one on an old lease.",
)
@json_option
def restore(
    for_real: bool, dry_run: bool, at: str | None, tenant_id: str | None, validate_after: int, as_json: bool
) -> None:
    """Bring sessions back from the bucket, quarantined until they are validated.

    Needs the bucket, the key encryption key and a database, which may be empty. Never writes over a row that is as new. May be
    interrupted and repeated. Exits with 1 when a backup was corrupt or missing; the rest is restored all the same.
    """
    if for_real and dry_run:
        raise click.UsageError("--run and --dry-run exclude each other.")
    moment = _parse_time(at) if at is not None else None
    with open_core() as core:
        bucket = make_bucket(core.settings)
        if for_real:
            with unavailable_when_away():
                migrate(core.engine)
        else:
            with unavailable_when_away(), core.engine.connect() as connection:
                if current_revision(connection) is None:
                    raise Conflict("This database has no tables yet: python -m app migrate makes them.")
        with progress_bar("restoring" if for_real else "rehearsing") as show:
            report = restore_sessions(
                transaction=core.transaction,
                engine=core.engine,
                keyring=core.keyring,
                bucket=bucket,
                actor=cli_actor(),
                at=moment,
                tenant_id=tenant_id,
                dry_run=not for_real,
                validate_after=timedelta(seconds=validate_after),
                on_progress=show,
            )
    if not print_report(report, as_json=as_json):
        _print_restored(report, for_real=for_real)
    if not report.good:
        raise click.ClickException(f"{len(report.problems):,} objects could not be used; see above.")


def _print_restored(report: RestoreReport, *, for_real: bool) -> None:
    click.echo(f"{report.sessions:,} sessions in the bucket")
    click.echo(f"{report.restored:,} {'restored, quarantined until validated' if for_real else 'would be restored'}")
    click.echo(f"{report.left_alone:,} left alone: the database has them as new, or they are leased")
    click.echo(f"{report.erased:,} had been erased")
    for problem in report.problems:
        click.echo(f"{problem.outcome:>11}  {problem.object_key}: {problem.detail}", err=True)
    for session_id in report.lost:
        click.echo(f"       lost  {session_id}: none of its backups can be used", err=True)
    if not for_real:
        click.echo("Nothing was written; add --run.")


def _parse_time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise click.BadParameter("must look like 2026-01-31T12:00:00Z", param_hint="--at") from exc
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
