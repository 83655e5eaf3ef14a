"""The stack under test with everything that a run holds of it: its processes, Telegram's control, the wires, the truth.

Whoever looks at the stores here goes past the proxies.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import psutil
import redis
from sqlalchemy import Engine, NullPool, create_engine, text

from chaos.frames import PostgresReader, RedisReader
from chaos.story import Story
from chaos.weather import Weather
from chaos.wire import Proxy
from devstack.configuration import DATABASE, neutral_environment
from devstack.ports import PortBook
from devstack.postgres import postgres_password, postgres_url
from devstack.redis import redis_url
from devstack.stack import Stack
from sandbox.driver import SandboxDriver

P = ParamSpec("P")
T = TypeVar("T")

LOGIN_WORKERS = ("worker-logins-1", "worker-logins-2")
TOKEN_SECONDS = 12
"""Life of a login token: short, so that codes change often and late scans are soon impossible."""

_THREADS = 48  # blocking calls at once: people's phones, the supervisor's questions, looks at the rows
_SETTINGS = {
    "LOGIN_WORKERS": str(len(LOGIN_WORKERS)),
    "SANDBOX_TOKEN_SECONDS": str(TOKEN_SECONDS),
    "QR_POLL_SECONDS": "3",
    "VALIDATION_INTERVAL_SECONDS": "20",
    "BACKUP_INTERVAL_SECONDS": "15",
    "LOGIN_RATE_PER_MINUTE": "1000000",
    "STRICT_RATE_PER_MINUTE": "1000000",
    "READ_RATE_PER_MINUTE": "1000000",
    "OPEN_RATE_PER_MINUTE": "1000000",
    "MAX_WAITING_LOGINS": "10000",
}


class Field:
    """See the module."""

    def __init__(self, *, stack: Stack, story: Story, weather: Weather, wires: dict[str, Proxy]) -> None:
        facts = stack.description
        ports = stack.configuration.ports
        self.stack = stack
        self.story = story
        self.weather = weather
        self.wires = wires
        self.web: str = facts["web"]
        self.api_key: str = facts["api_key"]
        self.telegram = SandboxDriver(facts["sandbox"])
        self.public_key_file = Path(facts["telegram"]["public_key_file"])
        sandbox_ports = stack.configuration.sandbox_ports
        assert sandbox_ports is not None
        self.data_centre_ports = sandbox_ports.data_centres
        password = postgres_password(stack.folder)
        self.engine: Engine = create_engine(
            postgres_url(ports["postgres"], password=password, database=DATABASE),
            poolclass=NullPool,
            connect_args={"connect_timeout": 5},
        )
        self.redis: redis.Redis = redis.Redis.from_url(redis_url(ports["redis"]), socket_timeout=5)

    async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a blocking call off the loop."""
        return await asyncio.to_thread(function, *args, **kwargs)

    def rows(self, query: str, **values: Any) -> list[Any]:
        """Ask PostgreSQL."""
        with self.engine.begin() as connection:
            return list(connection.execute(text(query), values))

    def execute(self, statement: str) -> None:
        """Tell PostgreSQL."""
        with self.engine.begin() as connection:
            connection.execute(text(statement))

    # --- processes

    def pid(self, name: str) -> int:
        """The process of a part, as it is now."""
        return self.stack.supervisor.pids[name]

    def tree(self, name: str) -> list[psutil.Process]:
        """A part's process with all that it started; empty when it has just died."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid(name))
            return [process, *process.children(recursive=True)]
        return []

    def signal_tree(self, name: str, number: signal.Signals) -> list[int]:
        """Send a signal to a part's processes, and say which those are."""
        pids = [process.pid for process in self.tree(name)]
        send_signal(pids, number)
        return pids

    def owner_of(self, port: int) -> tuple[int, str] | None:
        """The process that connected from a port, and the part that it belongs to."""
        pid = next(
            (each.pid for each in psutil.net_connections("tcp4") if each.laddr and each.laddr.port == port), None
        )
        parts = {pid: name for name, pid in self.stack.supervisor.pids.items()}
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in (psutil.Process(pid), *psutil.Process(pid).parents()) if pid else ():
                if process.pid in parts:
                    return int(pid or 0), parts[process.pid]
        return None


def send_signal(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to processes; those that are gone are left out."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


class _Narrator:
    """A ``Report`` for the stack's supervisor: deaths and restarts are part of the story."""

    def __init__(self, story: Story) -> None:
        self._story = story

    def starting(self, name: str) -> None:
        """A part begins to start; the story tells when it is there."""

    def ready(self, name: str, seconds: float) -> None:
        """A part is ready."""
        self._story.tell(f"{name} is ready after {seconds:.1f} s")

    def trouble(self, sentence: str) -> None:
        """A part died."""
        self._story.tell(sentence)


@contextlib.asynccontextmanager
async def open_field(folder: Path, *, story: Story, weather: Weather, login_seconds: int) -> AsyncIterator[Field]:
    """Run a stack with two login workers behind proxies, for the length of a block.

    Args:
        login_seconds: how long a login lives.

    Raises:
        SetupError: it cannot run here.
    """
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
    book = PortBook({})
    ports = {name: book.port(name) for name in ("postgres", "redis", "postgres-proxy", "redis-proxy")}
    wires = {
        name: Proxy(store_port=ports[name], make_reader=reader, recording=folder / f"{name}.wire")
        for name, reader in (("postgres", PostgresReader), ("redis", RedisReader))
    }
    settings = _SETTINGS | {
        "POSTGRES_PORT": str(ports["postgres"]),
        "POSTGRES_PROXY_PORT": str(ports["postgres-proxy"]),
        "REDIS_PORT": str(ports["redis"]),
        "REDIS_PROXY_PORT": str(ports["redis-proxy"]),
        "QR_TTL_SECONDS": str(login_seconds),
    }
    stack = Stack(
        folder, given={**neutral_environment(), **settings}, report=_Narrator(story), without=("flower", "exporter")
    )
    for name, wire in wires.items():
        await wire.open(ports[f"{name}-proxy"])
    try:
        async with stack:
            field = Field(stack=stack, story=story, weather=weather, wires=wires)
            yield field
            field.engine.dispose()
            field.redis.close()
    finally:
        for wire in wires.values():
            await wire.close()
