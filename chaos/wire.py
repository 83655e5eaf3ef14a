"""A proxy between the stack's programs and one of their stores, which can strike at a chosen message.

A trap waits for a message, say the COMMIT of a transaction that wrote a session. When it comes, the proxy cuts or stalls that
connection before or after the message, or kills or stops the process that sent it: the commit never arrives, or it happened
and nobody hears of it, or whoever made it dies before saying so. No hook in the product is needed for that.

Everything that clients send is also written to a file, for the search for secrets.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from chaos.frames import Frame, Reader
from devstack.ports import HOST

When = Literal["before", "after"]
"""Before the message reaches the store, or after the store has answered and before the client hears of it."""

What = Literal["cut", "stall", "kill", "stop"]
"""Cut or stall the connection; kill or stop the process that it belongs to."""

_CHUNK_BYTES = 65_536
_ANSWER_SECONDS = 5.0

Strike = Callable[[What, int], Awaitable[None]]
"""Does something to the process behind a connection, given by the connection's port."""


@dataclass(kw_only=True)
class Trap:
    """Waits for one message.

    Args:
        pattern: of the message's words.
        seconds: how long a stall lasts.
        strike_owner: does ``kill`` and ``stop``.

    ``sprung`` becomes the message's words.
    """

    pattern: re.Pattern[str]
    when: When
    what: What
    seconds: float = 0.0
    strike_owner: Strike
    sprung: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Proxy:
    """Passes connections on to a store's port.

    Args:
        make_reader: reads what a client of this store sends.
        recording: the file that gets it.
    """

    def __init__(self, *, store_port: int, make_reader: Callable[[], Reader], recording: Path) -> None:
        self._store_port = store_port
        self._make_reader = make_reader
        self._recording: BinaryIO = recording.open("wb")
        self._traps: list[Trap] = []
        self._passages: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self, port: int) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, HOST, port, limit=_CHUNK_BYTES)

    async def close(self) -> None:
        """Hang up on everybody."""
        if self._server is not None:
            self._server.close()
        for passage in self._passages:
            passage.cancel()
        await asyncio.gather(*self._passages, return_exceptions=True)
        self._recording.close()

    @contextlib.contextmanager
    def trap(self, trap: Trap) -> Iterator[Trap]:
        """Have a trap wait, for the length of a block."""
        self._traps.append(trap)
        try:
            yield trap
        finally:
            if trap in self._traps:
                self._traps.remove(trap)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passages.add(task)
        try:
            await self._pass_on(reader, writer)
        finally:
            self._passages.discard(task)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_store = await asyncio.open_connection(HOST, self._store_port, limit=_CHUNK_BYTES)
        except OSError:
            return
        passage = _Passage((reader, writer), to_store)
        up = asyncio.create_task(self._send(passage))
        down = asyncio.create_task(passage.answer())
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            to_store[1].transport.abort()

    async def _send(self, passage: _Passage) -> None:
        frames = self._make_reader()
        while chunk := await passage.from_client.read(_CHUNK_BYTES):
            self._recording.write(chunk)
            for frame in frames.feed(chunk):
                trap = self._take_trap(frame)
                if trap is None:
                    passage.to_store.write(frame.raw)
                elif not await passage.spring(trap, frame):
                    return
            await passage.to_store.drain()

    def _take_trap(self, frame: Frame) -> Trap | None:
        for trap in self._traps:
            if frame.words and trap.pattern.search(frame.words):
                self._traps.remove(trap)
                trap.sprung.set_result(frame.words.partition("\n")[0][:80])
                return trap
        return None


class _Passage:
    """One client's connection and its counterpart to the store."""

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        store: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.from_client, self._to_client = client
        self._from_store, self.to_store = store
        self._answered = asyncio.Event()
        self._may_hear = asyncio.Event()
        self._may_hear.set()

    async def answer(self) -> None:
        """Pass the store's answers on."""
        while chunk := await self._from_store.read(_CHUNK_BYTES):
            self._answered.set()
            await self._may_hear.wait()
            self._to_client.write(chunk)
            await self._to_client.drain()

    async def spring(self, trap: Trap, frame: Frame) -> bool:
        """Let a trap do what it is there for; False: the connection has to end."""
        if trap.when == "after":
            await self._send_withholding_the_answer(frame)
        goes_on = await self._strike(trap)
        if trap.when == "before" and goes_on:
            self.to_store.write(frame.raw)
        self._may_hear.set()
        return goes_on

    async def _send_withholding_the_answer(self, frame: Frame) -> None:
        self._answered.clear()
        self._may_hear.clear()
        self.to_store.write(frame.raw)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._answered.wait(), _ANSWER_SECONDS)

    async def _strike(self, trap: Trap) -> bool:
        if trap.what == "stall":
            await asyncio.sleep(trap.seconds)
        elif trap.what in ("kill", "stop"):
            await trap.strike_owner(trap.what, int(self._to_client.get_extra_info("peername")[1]))
        return trap.what in ("stall", "stop")
