"""The command line, ``python -m app``: one module per subject, imported when it is asked for.

A new command is one line in ``_COMMANDS``. An error that Latchkey itself raises is one line on standard error; bad
usage and senseless settings exit with 2, everything else with 1.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from app.cli.examples import add_examples
from app.clock import rfc3339
from app.errors import AppError, InvalidInput, SessionLeased, SettingsError

_COMMANDS = {
    "api-key": ("app.cli.tenants:api_key", "API keys: make (shown once), list, update, revoke."),
    "audit": ("app.cli.audit:audit", "The audit: verify that nobody changed it, export it."),
    "backup": ("app.cli.backups:backup", "Backups: run, verify, expire, status."),
    "doctor": ("app.cli.doctor:doctor", "Check each dependency and say what to do."),
    "keys": ("app.cli.keys:keys", "Data encryption keys: list, rotate, rewrap, destroy."),
    "login": (
        "app.cli.login:login",
        "Log in to Telegram here: draws the QR code, renews it in place, asks for the 2FA password.",
    ),
    "migrate": (
        "app.cli.migrate:migrate",
        "Apply the migrations that the database lacks. Safe to run from many places at once.",
    ),
    "restore": (
        "app.cli.backups:restore",
        "Bring sessions back from the bucket, quarantined until they are validated.",
    ),
    "sessions": (
        "app.cli.sessions:sessions",
        "Sessions: list, show, import, validate, lease, revoke, change the proxy.",
    ),
    "webhooks": (
        "app.cli.webhooks:webhooks",
        "Webhooks: make, list, change, delete, test, rotate the secret, deliveries, replay.",
    ),
    "tenant": ("app.cli.tenants:tenant", "Tenants: make, list, show, set, disable, enable, purge."),
}
"""Where a command is, and what it does, as its own help begins: to describe all takes no import of any."""


class _LazyGroup(click.Group):
    """Imports a command when it is called, so that one does not pay for all."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        where, _ = _COMMANDS[cmd_name]
        module, _, name = where.partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        add_examples(command, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        room = formatter.width - 6 - max(map(len, _COMMANDS))
        described = {name: click.Command(name, help=says) for name, (_, says) in sorted(_COMMANDS.items())}
        rows = [(name, command.get_short_help_str(room)) for name, command in described.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AppError as exc:
            failure = _BadSettings if isinstance(exc, SettingsError) else click.ClickException
            raise failure(_sentence(exc)) from exc


def _sentence(error: AppError) -> str:
    if isinstance(error, SessionLeased):
        return f"{error.holder} holds the session until {rfc3339(error.expires_at)}."
    fields = error.errors if isinstance(error, InvalidInput) else ()
    return " ".join([error.detail, *(f"{field.capitalize()} {message}." for field, message in fields)])


class _BadSettings(click.ClickException):
    exit_code = 2


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """Latchkey: connects users' Telegram accounts by QR login and keeps the sessions.

    \b
    Settings come from the environment and .env; `set -a; . .run/env` takes those of a running `make up`.
    Exit status: 0  done
                 1  refused, not found, or something is away: the last line says what
                 2  bad usage, or a setting that is missing or senseless
    """
