"""How much a server may make this process hold: the length of a frame, and what a packed one unpacks to.

Telethon takes whatever length a server names (2 GiB) and unpacks without a limit; thousands of logins share the memory that
one connection would fill.
"""

from __future__ import annotations

import asyncio
import zlib
from types import SimpleNamespace
from typing import Final

import telethon.tl.core.gzippacked

LONGEST_FRAME_BYTES: Final = 4 * 1024 * 1024
"""A server's container holds about 1 MiB, and nothing that this process asks for comes near it."""

LONGEST_UNPACKED_BYTES: Final = 8 * 1024 * 1024
_GZIP: Final = 31  # zlib's number for the format


class BoundedReader:
    """As much of a stream reader as Telethon's transport uses; hangs up on a frame that is too long to be true."""

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
