"""The loop thread: one asyncio loop per process, on which every Telegram connection of the process lives.

Celery's threads (and the command line) hand it coroutines and block on a future; a waiting login so costs a thread's 40 KiB and
nothing else. Work that blocks (PostgreSQL, SRP's arithmetic) leaves the loop by ``in_thread``.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


class LoopThread:
    """A thread that runs an event loop until it is stopped.

    Args:
        blocking_threads: how many blocking calls of ``in_thread`` may run at once; more wait their turn.
    """

    def __init__(self, *, blocking_threads: int = 8) -> None:
        self._executor = ThreadPoolExecutor(max_workers=blocking_threads, thread_name_prefix="blocking")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="telegram-loop", daemon=True)

    def start(self) -> None:
        """Start the thread; returns when the loop takes work."""
        self._thread.start()
        self.run(asyncio.sleep(0))

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop, from any other thread; the caller decides when to wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Coroutine[Any, Any, T], *, timeout_seconds: float | None = None) -> T:
        """Run a coroutine on the loop and block this thread until it ends.

        Raises:
            TimeoutError: it did not end in time; it has been cancelled.
        """
        future = self.submit(coroutine)
        try:
            return future.result(timeout_seconds)
        except TimeoutError:
            future.cancel()
            raise

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """From the loop: run a blocking call in a thread of its own, so that the loop goes on; it logs as its caller does."""
        here = contextvars.copy_context()
        return await self._loop.run_in_executor(self._executor, lambda: here.run(function, *args, **kwargs))

    def stop(self, *, timeout_seconds: float = 5.0) -> None:
        """Cancel what still runs on the loop, wait for it within bounds, and end the thread."""
        if not self._thread.is_alive():
            return
        try:
            self.run(_cancel_all(), timeout_seconds=timeout_seconds)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout_seconds)
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
