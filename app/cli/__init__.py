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
    "api-key": "app.cli.tenants:api_key",
    "audit": "app.cli.audit:audit",
    "backup": "app.cli.backups:backup",
    "doctor": "app.cli.doctor:doctor",
    "keys": "app.cli.keys:keys",
    "login": "app.cli.login:login",
    "migrate": "app.cli.migrate:migrate",
    "restore": "app.cli.backups:restore",
    "sessions": "app.cli.sessions:sessions",
    "webhooks": "app.cli.webhooks:webhooks",
    "tenant": "app.cli.tenants:tenant",
}


class _LazyGroup(click.Group):
    """Imports a command when it is called (or described), so that ``--help`` of one does not pay for all."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        add_examples(command, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AppError as exc:
            raise (_BadSettings if isinstance(exc, SettingsError) else click.ClickException)(_sentence(exc)) from exc


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
