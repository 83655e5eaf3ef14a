"""Carrying flows out with httpx: one driver blocks, the other awaits. They decide nothing; flows do."""

from __future__ import annotations

import asyncio
import functools
import inspect
import ssl
import time
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any, TypeVar

import httpx

from .errors import LatchkeyUnavailable
from .steps import Answer, Ask, Flow, Item, ManyFlow, Pause, Request, Step

T = TypeVar("T")


@functools.cache
def _trust() -> ssl.SSLContext:
    # Reading the system's certificates takes longer than a call: once a process.
    return httpx.create_ssl_context()


class Driver:
    """Carries flows out and blocks meanwhile. Threads may share it.

    Args:
        headers: sent with every request.
    """

    def __init__(self, base_url: str, headers: dict[str, str]) -> None:
        self._http = httpx.Client(base_url=base_url.rstrip("/"), headers=headers, verify=_trust())

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(self, flow: Flow[T]) -> T:
        """Carry a flow out and return its result."""
        walk = _Walk(flow)
        while (step := walk.next_step()) is not None:
            self._do(walk, step)
        result: T = walk.result
        return result

    def iterate(self, flow: ManyFlow[T]) -> Iterator[T]:
        """Carry a flow out as far as its results are asked for."""
        walk = _Walk(flow)
        while (step := walk.next_step()) is not None:
            if isinstance(step, Item):
                yield step.value
            else:
                self._do(walk, step)

    def _do(self, walk: _Walk, step: Step) -> None:
        match step:
            case Request():
                try:
                    walk.reply = _answer(self._http.request(**_options(step)))
                except _NETWORK_ERRORS as exc:
                    walk.failure = _unreachable(exc)
            case Pause(seconds):
                time.sleep(seconds)
            case Ask(function, argument):
                walk.reply = function(argument)


class AsyncDriver:
    """Carries flows out in an event loop; of one loop at a time.

    Args:
        headers: sent with every request.
    """

    def __init__(self, base_url: str, headers: dict[str, str]) -> None:
        self._http = httpx.AsyncClient(base_url=base_url.rstrip("/"), headers=headers, verify=_trust())

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def run(self, flow: Flow[T]) -> T:
        """Carry a flow out and return its result."""
        walk = _Walk(flow)
        while (step := walk.next_step()) is not None:
            await self._do(walk, step)
        result: T = walk.result
        return result

    async def iterate(self, flow: ManyFlow[T]) -> AsyncIterator[T]:
        """Carry a flow out as far as its results are asked for."""
        walk = _Walk(flow)
        while (step := walk.next_step()) is not None:
            if isinstance(step, Item):
                yield step.value
            else:
                await self._do(walk, step)

    async def _do(self, walk: _Walk, step: Step) -> None:
        match step:
            case Request():
                try:
                    async with asyncio.timeout(step.seconds):  # httpx begins its own anew with each byte
                        walk.reply = _answer(await self._http.request(**_options(step)))
                except _NETWORK_ERRORS as exc:
                    walk.failure = _unreachable(exc)
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Ask(function, argument):
                told = function(argument)
                walk.reply = await told if inspect.isawaitable(told) else told


class _Walk:
    """A flow under way: sent the last step's ``reply``, or thrown its ``failure``, it says what comes next."""

    def __init__(self, flow: Generator[Any, Any, Any]) -> None:
        self._flow = flow
        self.reply: Any = None
        self.failure: LatchkeyUnavailable | None = None
        self.result: Any = None

    def next_step(self) -> Any:
        """What has to be done; None when the flow is over and ``result`` is there."""
        reply, failure = self.reply, self.failure
        self.reply = self.failure = None
        try:
            return self._flow.send(reply) if failure is None else self._flow.throw(failure)
        except StopIteration as stop:
            self.result = stop.value
            return None


_NETWORK_ERRORS = (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError)


def _options(request: Request) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.path,
        "params": {name: value for name, value in request.query.items() if value is not None},
        "json": request.body,
        "headers": dict(request.headers),
        "timeout": request.seconds,
    }


def _answer(response: httpx.Response) -> Answer:
    return Answer(
        response.status_code, {name.lower(): value for name, value in response.headers.items()}, response.content
    )


def _unreachable(error: Exception) -> LatchkeyUnavailable:
    unreachable = LatchkeyUnavailable(f"Latchkey cannot be reached ({type(error).__name__}).", code="unavailable")
    unreachable.__cause__ = error
    return unreachable
