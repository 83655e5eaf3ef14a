"""``doctor``: prints what ``app.doctor`` finds."""

from __future__ import annotations

import json

import click

from app.doctor import Finding, examine
from app.settings import load_settings

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Check each dependency and say what to do.

    Exits with 0 if all that is needed works, whatever it warns of; with 1 if something failed; with 2 if a setting
    is missing or senseless.
    """
    findings = []
    for finding in examine(load_settings()):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
    if any(finding.state == "failed" for finding in findings):
        raise click.exceptions.Exit(1)


def _print(finding: Finding) -> None:
    state = click.style(f"{finding.state:<8}", fg=_COLOURS[finding.state])
    click.echo(f"{state} {finding.name:<10} {finding.found}")
    if finding.advice:
        click.echo(f"{'':<20}→ {finding.advice}")
