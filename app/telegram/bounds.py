"""How much a server may make this process hold: the length of a frame, and what a packed one unpacks to.

Telethon takes whatever length a server names (2 GiB) and unpacks without a limit; thousands of logins share the memory that
one connection would fill.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from types import SimpleNamespace
from typing import Any, Final

import telethon.tl.core.gzippacked
from telethon.network import ConnectionTcpFull

LONGEST_FRAME_BYTES: Final = 4 * 1024 * 1024
"""A server's container holds about 1 MiB, and nothing that this process asks for comes near it."""

LONGEST_UNPACKED_BYTES: Final = 8 * 1024 * 1024
_CLOSING_SECONDS: Final = 10.0
_GZIP: Final = 31  # zlib's number for the format


class BoundedTcpFull(ConnectionTcpFull):  # type: ignore[misc]  # Telethon ships no types
    """Telethon's full transport, which hangs up on a frame that is too long to be true.

    Its frames go from and to the socket at once. Telethon's own passes each through a queue and a task, for either direction:
    that costs a short conversation a third of its CPU, and a waiting one two tasks.
    """

    async def connect(self, timeout: float | None = None, ssl: Any = None) -> None:
        """Connect; there are no tasks to start."""
        await self._connect(timeout=timeout, ssl=ssl)
        self._connected = True

    async def send(self, data: bytes) -> None:
        """Send a frame; only the sender's own loop does that, one after the other."""
        if not self._connected:
            raise ConnectionError("Not connected")
        self._send(data)
        await self._writer.drain()

    async def recv(self) -> Any:
        """Wait for the next frame that is not empty; only the sender's own loop does that."""
        while self._connected:
            if frame := await self._recv():
                return frame
        raise ConnectionError("Not connected")

    async def disconnect(self) -> None:
        """Close the socket, and wait until it is closed. May be repeated."""
        if not self._connected:
            return
        self._connected = False
        self._writer.close()
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                await self._writer.wait_closed()

    async def _recv(self) -> Any:
        return await self._codec.read_packet(_BoundedReader(self._reader))


class _BoundedReader:
    """As much of a stream reader as Telethon's transport uses."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def readexactly(self, count: int) -> bytes:
        if count > LONGEST_FRAME_BYTES:
            raise ConnectionError(f"a frame of {count} bytes was announced")
        return await self._reader.readexactly(count)


def install() -> None:
    """Let Telethon unpack within bounds. May be called again; nothing changes then."""
    module = telethon.tl.core.gzippacked
    module.gzip = SimpleNamespace(compress=module.gzip.compress, decompress=gunzip)


def gunzip(packed: bytes) -> bytes:
    """Unpack.

    Raises:
        ValueError: it is damaged, cut short, or holds more than any answer does.
    """
    decompressor = zlib.decompressobj(wbits=_GZIP)
    try:
        unpacked = decompressor.decompress(packed, LONGEST_UNPACKED_BYTES)
    except zlib.error as exc:
        raise ValueError("damaged gzip_packed") from exc
    if not decompressor.eof:
        raise ValueError("gzip_packed holds too much, or was cut short")
    return unpacked
