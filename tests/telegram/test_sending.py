"""Requests without tasks in between: as few packets as can be, and each request has an end, whatever becomes of the line."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from telethon.tl.functions.help import GetConfigRequest
from telethon.tl.types import Config

from app.metrics import make_metrics
from app.settings import DataCentre
from app.telegram.connection import TelegramConnection
from app.telegram.errors import AnswerTimeout, ConnectionLost
from app.telegram.identity import ApiIdentity
from app.telegram.process import start_telegram, stop_telegram
from sandbox.process import RunningSandbox
from tests.builders import make_settings

ME = ApiIdentity(api_id=1, api_hash="x", device_model="d", system_version="s", app_version="a")
_HEAD_BYTES = 4


class Line:
    """A relay between a connection and the sandbox that counts packets, and can be held up or cut."""

    def __init__(self) -> None:
        self.port = 0
        self.packets = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._ends: list[asyncio.StreamWriter] = []

    @contextlib.asynccontextmanager
    async def to(self, port: int) -> AsyncIterator[None]:
        """Relay to this port for the length of a block."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection("127.0.0.1", port)
            self._ends += [writer, back]
            with contextlib.suppress(EOFError, OSError):
                await asyncio.gather(self._count(reader, back), self._answer(there, writer))

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            self.cut()
            server.close()

    def cut(self) -> None:
        """End the connections."""
        for end in self._ends:
            end.close()

    async def _count(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readexactly(_HEAD_BYTES)
            writer.write(head + await reader.readexactly(struct.unpack("<i", head)[0] - _HEAD_BYTES))
            self.packets += 1

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while answer := await reader.read(4096):
            await self.may_answer.wait()
            writer.write(answer)
        raise EOFError


OnLine = Callable[[Callable[[Line, TelegramConnection], Awaitable[None]]], None]


@pytest.fixture
def on_line(sandboxes: Callable[..., RunningSandbox], redis_url: str, tmp_path: Path) -> OnLine:
    """Runs a check on the loop of a process, with an open connection over a line."""
    sandbox = sandboxes()
    settings = make_settings(
        database_url="postgresql://nobody@127.0.0.1/none",
        redis_url=redis_url,
        key_file=tmp_path / "key",
        telegram_public_key_file=sandbox.public_key_file,
    )

    def run(check: Callable[[Line, TelegramConnection], Awaitable[None]]) -> None:
        async def with_connection() -> None:
            line = Line()
            async with line.to(sandbox.dcs[2]):
                centre = DataCentre(2, "127.0.0.1", line.port)
                connection = TelegramConnection(
                    identity=ME, data_centre=centre, auth_key=None, handshakes=telegram.handshakes
                )
                await connection.open()
                try:
                    await check(line, connection)
                finally:
                    await connection.close()

        telegram = start_telegram(settings, make_metrics())
        try:
            telegram.runtime.run(with_connection(), timeout_seconds=60)
        finally:
            stop_telegram(telegram)

    return run


async def ask(connection: TelegramConnection, *, timeout_seconds: float = 30.0) -> object:
    """Ask something."""
    return await connection.invoke(GetConfigRequest(), method="help.getConfig", timeout_seconds=timeout_seconds)


def test_acknowledgements_ride_with_the_next_request(on_line: OnLine) -> None:
    """A request is one packet, whatever is to be acknowledged with it."""

    async def check(line: Line, connection: TelegramConnection) -> None:
        before = line.packets
        for _ in range(5):
            assert isinstance(await ask(connection), Config)
        assert line.packets - before == 5

    on_line(check)


def test_requests_at_the_same_time_have_their_own_answers(on_line: OnLine) -> None:
    """A worker asks one by one; a ping may come between."""

    async def check(line: Line, connection: TelegramConnection) -> None:
        answers = await asyncio.gather(ask(connection), connection.ping(), ask(connection))
        assert [type(answer) for answer in answers] == [Config, type(None), Config]

    on_line(check)


def test_no_answer_in_time_is_said_and_the_connection_goes_on(on_line: OnLine) -> None:
    """What comes too late is nobody's any more."""

    async def check(line: Line, connection: TelegramConnection) -> None:
        line.may_answer.clear()
        with pytest.raises(AnswerTimeout):
            await ask(connection, timeout_seconds=0.2)
        line.may_answer.set()
        assert isinstance(await ask(connection), Config)

    on_line(check)


def test_a_line_that_breaks_ends_what_waits_for_an_answer(on_line: OnLine) -> None:
    """At once, and for each that waits; nothing can be asked any more."""

    async def check(line: Line, connection: TelegramConnection) -> None:
        line.may_answer.clear()
        waiting = [asyncio.create_task(ask(connection)) for _ in range(3)]
        await asyncio.sleep(0)
        line.cut()
        async with asyncio.timeout(10):
            ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(end) for end in ends] == [ConnectionLost] * 3
        assert not connection.connected
        with pytest.raises(ConnectionLost):
            await ask(connection)

    on_line(check)


def test_who_closes_ends_what_waits_for_an_answer(on_line: OnLine) -> None:
    """With an error, and not as if whoever waits were cancelled."""

    async def check(line: Line, connection: TelegramConnection) -> None:
        line.may_answer.clear()
        waiting = asyncio.create_task(ask(connection))
        await asyncio.sleep(0)
        await connection.close()
        with pytest.raises(ConnectionLost):
            await waiting
        await connection.close()

    on_line(check)
