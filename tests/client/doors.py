"""One test for both forms of the client: what is awaited is made to block."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from anyio.from_thread import BlockingPortal, start_blocking_portal

from latchkey_client import AsyncLatchkey, Latchkey

FORMS = ("blocking", "awaited")


@contextmanager
def open_door(form: str, url: str, api_key: str | None, **options: Any) -> Iterator[Latchkey]:
    """A client of this form; the awaited one is called as if it blocked."""
    if form == "blocking":
        with Latchkey(url, api_key, **options) as latchkey:
            yield latchkey
        return
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(AsyncLatchkey(url, api_key, **options)) as latchkey,
    ):
        yield cast(Latchkey, _Finished(portal, latchkey))


class _Finished:
    """Calls of an awaited client, finished when they return."""

    def __init__(self, portal: BlockingPortal, awaited: Any) -> None:
        self._portal = portal
        self._awaited = awaited

    def __getattr__(self, name: str) -> Any:
        return _Finished(self._portal, getattr(self._awaited, name))

    def __call__(self, *args: Any, **options: Any) -> Any:
        told = self._awaited(*args, **options)
        if hasattr(told, "__aiter__"):
            return self._each(told)
        assert inspect.iscoroutine(told)

        async def finish() -> Any:
            return await told

        return self._portal.call(finish)

    def _each(self, many: Any) -> Iterator[Any]:
        while True:
            try:
                yield self._portal.call(many.__anext__)
            except StopAsyncIteration:
                return
