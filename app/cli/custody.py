"""What commands share that open or seal something: a process's parts, and a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from app.core import Core, build_core
from app.dispatch import make_dispatch, make_producer
from app.settings import load_settings


@contextmanager
def open_core(*, sends: bool = False) -> Iterator[Core]:
    """A process's parts for as long as a command runs.

    Args:
        sends: whether the command sends tasks; without them, a sweep finds what is to do.
    """
    settings = load_settings()
    dispatch = make_dispatch(make_producer(settings)) if sends else _send_nothing
    core = build_core(settings, role="cli", dispatch=dispatch, pool_size=2)
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
