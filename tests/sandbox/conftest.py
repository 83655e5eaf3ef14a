"""Running sandboxes, clients on them, and tests that are coroutines."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest

from sandbox.process import RunningSandbox, start_sandbox
from tests.sandbox.clients import TelethonClients
from tests.sandbox.wire import Wires

_LONGEST_SECONDS = 60

SandboxMaker = Callable[..., RunningSandbox]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test on a loop of its own, and close the clients that it opened on that loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def run() -> None:
        try:
            await asyncio.wait_for(pyfuncitem.obj(**arguments), _LONGEST_SECONDS)
        finally:
            for argument in arguments.values():
                close: Callable[[], Awaitable[None]] | None = getattr(argument, "close_all", None)
                if close is not None:
                    await close()

    asyncio.run(run())
    return True


@pytest.fixture(scope="session")
def shared_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    """One sandbox for all tests that leave it as they found it."""
    with start_sandbox(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture
def sandbox(shared_sandbox: RunningSandbox) -> Iterator[RunningSandbox]:
    """The shared sandbox, without faults and in fine weather afterwards."""
    yield shared_sandbox
    shared_sandbox.driver.clear_faults()
    shared_sandbox.driver.network("ok", latency_ms=0, cut_all=True)


@pytest.fixture
def make_sandbox(tmp_path: Path) -> Iterator[SandboxMaker]:
    """Starts sandboxes of the test's own, with options."""
    with ExitStack() as stack:

        def make(**options: Any) -> RunningSandbox:
            return stack.enter_context(start_sandbox(tmp_path, **options))

        yield make


@pytest.fixture
def clients(sandbox: RunningSandbox) -> TelethonClients:
    """Makes Telethon clients on the shared sandbox."""
    return TelethonClients(sandbox)


Kind = TypeVar("Kind", TelethonClients, Wires)


class Own(Generic[Kind]):
    """Starts sandboxes with options, and hands out makers of clients on them."""

    def __init__(self, make_sandbox: SandboxMaker, kind: Callable[[RunningSandbox], Kind]) -> None:
        self._make_sandbox = make_sandbox
        self._kind: Callable[[RunningSandbox], Kind] = kind
        self._made: list[Kind] = []

    def __call__(self, **options: Any) -> Kind:
        """Start a sandbox with these options and return a maker of clients on it."""
        self._made.append(self._kind(self._make_sandbox(**options)))
        return self._made[-1]

    async def close_all(self) -> None:
        """Disconnect every client."""
        for clients in self._made:
            await clients.close_all()


OwnClients = Own[TelethonClients]
OwnWires = Own[Wires]


@pytest.fixture
def own_clients(make_sandbox: SandboxMaker) -> OwnClients:
    """Makes sandboxes with options, and Telethon clients on them."""
    return Own(make_sandbox, TelethonClients)


@pytest.fixture
def own_wires(make_sandbox: SandboxMaker) -> OwnWires:
    """Makes sandboxes with options, and raw connections to them."""
    return Own(make_sandbox, Wires)


@pytest.fixture
def wires(sandbox: RunningSandbox) -> Wires:
    """Makes connections on which every byte is the test's own, on the shared sandbox."""
    return Wires(sandbox)
