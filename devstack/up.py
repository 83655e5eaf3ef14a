"""`make up`: the stack in the foreground until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from devstack.console import Terminal
from devstack.interrupts import cancel_on_signal
from devstack.roles import EXPORTER_PYTHON, ROOT
from devstack.stack import Stack


async def up(folder: Path, *, without: Collection[str], dotenv: bool, terminal: Terminal) -> int:
    """Run the stack until a signal comes.

    Args:
        dotenv: whether `.env` speaks for what the environment does not say.

    Raises:
        SetupError: it cannot run here.
    """
    given = {**_written(), **os.environ} if dotenv else os.environ
    stack = Stack(folder, given=given, report=terminal, without=without)
    with cancel_on_signal(again=stack.supervisor.kill):
        try:
            with terminal.checklist("Latchkey on this machine"):
                await stack.__aenter__()
        except asyncio.CancelledError:
            return 130
        try:
            _show(stack.description, folder=folder, terminal=terminal)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            terminal.line("ending")
        finally:
            await stack.__aexit__(None, None, None)
    return 0


def _written() -> Mapping[str, str]:
    return {name: value for name, value in dotenv_values(ROOT / ".env").items() if value}


def _show(description: Mapping[str, Any], *, folder: Path, terminal: Terminal) -> None:
    if description["exporter"] is None and not EXPORTER_PYTHON.exists():
        terminal.trouble("the Celery exporter is left out: `make install` makes its environment")
    terminal.line(("ready", "bold green"))
    for name in ("web", "sandbox", "flower", "exporter", "s3"):
        if description[name]:
            terminal.line(f"  {name:<10}", (description[name], "cyan"))
    terminal.line(f"  {'API docs':<10}", (f"{description['web']}/docs", "cyan"))
    terminal.line(f"  {'settings':<10}", f"set -a; . {folder / 'env'}")
    terminal.line(f"  {'all of it':<10}", f"{folder / 'stack.json'}, logs in {folder / 'logs'}")
    terminal.line(("Ctrl-C ends it.", "dim"))
