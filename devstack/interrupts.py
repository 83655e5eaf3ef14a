"""Ctrl-C and SIGTERM: the first ends everything in order, the second at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def cancel_on_signal(*, again: Callable[[], None]) -> Iterator[None]:
    """Cancel the current task at the first signal, and call ``again`` at every further one."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    came: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        came.append(number)
        if len(came) == 1:
            task.cancel()
        else:
            again()

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
