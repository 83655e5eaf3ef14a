"""What the commands of keys and backups share: a process's parts, and a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from app.core import Core, build_core
from app.settings import load_settings


@contextmanager
def open_core() -> Iterator[Core]:
    """A process's parts for as long as a command runs. These commands send no tasks."""
    core = build_core(load_settings(), role="cli", dispatch=_send_nothing, pool_size=2)
    try:
        yield core
    finally:
        core.engine.dispose()


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error for a block; call what it gives with what is done and the total."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def _send_nothing(task: str, *args: str, countdown_seconds: float = 0.0) -> bool:
    del task, args, countdown_seconds
    return False
