"""A lease in a program without an event loop: the lease and its Telegram client live in a thread of their own."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from .lease import SessionLease


class BlockingLease:
    """A ``with`` block that yields the client. Leaves with ``LeaseLost`` when the lease was lost meanwhile.

    Nothing can interrupt the block: once the lease is lost, the client is disconnected and its next call fails.
    """

    def __init__(self, lease: SessionLease) -> None:
        self._lease = lease
        self._undo = ExitStack()

    def __enter__(self) -> BlockingTelegram:
        """Acquire the lease and connect. Raises what ``SessionLease`` raises."""
        with ExitStack() as undo:
            portal = undo.enter_context(start_blocking_portal())
            client = undo.enter_context(portal.wrap_async_context_manager(self._lease))
            self._undo = undo.pop_all()
        return BlockingTelegram(portal, client)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect, then release.

        Raises:
            LeaseLost: the lease was lost meanwhile.
        """
        self._undo.__exit__(kind, error, trace)


class BlockingTelegram:
    """A connected ``TelegramClient`` whose methods block; its asynchronous iterators are ordinary ones."""

    def __init__(self, portal: BlockingPortal, client: Any) -> None:
        self._portal = portal
        self._client = client

    def __call__(self, request: Any) -> Any:
        """Make a request of Telegram's API. Raises as ``LeasedClient`` does."""
        return self._finish(self._client, request)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def call(*args: Any, **options: Any) -> Any:
            return self._finish(found, *args, **options)

        return call

    def _finish(self, method: Any, *args: Any, **options: Any) -> Any:
        async def finish() -> Any:
            told = method(*args, **options)
            return await told if inspect.isawaitable(told) and not hasattr(told, "__aiter__") else told

        told = self._portal.call(finish)
        return self._each(told) if hasattr(told, "__aiter__") else told

    def _each(self, many: Any) -> Iterator[Any]:
        steps = aiter(many)
        while True:
            try:
                yield self._portal.call(steps.__anext__)
            except StopAsyncIteration:
                return
