"""The page of the commands: what `--help` of each says, and the Makefile's own list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from app.cli import cli
from docsite.markdown import code, page, table
from sandbox.cli import main as sandbox_cli

_MAKEFILE = Path(__file__).resolve().parent.parent / "Makefile"
_TARGET = re.compile(r"^([a-z-]+):.*## (.*)$", re.MULTILINE)

_ABOUT = """`python -m app` and `python -m sandbox` run in the environment that `make install` makes:
`.venv/bin/python -m app …`. Beside a stack of `make up`, `set -a; . .run/env; set +a` makes them speak to it."""


def commands_page() -> str:
    """Every target of `make`, every command of Latchkey and of the sandbox."""
    targets = [[code(f"make {name}"), text] for name, text in _TARGET.findall(_MAKEFILE.read_text(encoding="utf-8"))]
    return page(
        "Commands",
        _ABOUT,
        "## make",
        table(["command", "does"], targets),
        *_describe(cli, "python -m app"),
        *_describe(sandbox_cli, "python -m sandbox"),
    )


def _describe(command: click.Command, name: str, *, depth: int = 2) -> Iterator[str]:
    context = click.Context(command, info_name=name)
    yield f"{'#' * min(depth, 4)} {name}"
    yield _help(command)
    if isinstance(command, click.Group):
        for word in command.list_commands(context):
            below = command.get_command(context, word)
            assert below is not None
            yield from _describe(below, f"{name} {word}", depth=depth + 1)
        return
    usage = " ".join(piece for param in command.get_params(context) for piece in param.get_usage_pieces(context))
    yield f"```\n{name}{' [OPTIONS]' if _options(command, context) else ''}{' ' + usage if usage else ''}\n```"
    yield table(["option", "is"], _options(command, context))


def _help(command: click.Command) -> str:
    text = (command.help or "").split("\f")[0]
    return re.sub(r"(?<![`-])(--[a-z][a-z-]*)", r"`\1`", text.strip())


def _options(command: click.Command, context: click.Context) -> list[list[str]]:
    records = [param.get_help_record(context) for param in command.params if isinstance(param, click.Option)]
    return [[code(record[0]), record[1]] for record in records if record is not None]
