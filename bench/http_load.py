"""A lean HTTP client for measuring the web: raw sockets on one loop, because it shares the machine with what it measures."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from devstack.ports import HOST


def request_bytes(
    method: str, path: str, *, headers: Mapping[str, str] | None = None, members: Mapping[str, object] | None = None
) -> bytes:
    """One request, as it goes over the wire."""
    body = b"" if members is None else json.dumps(members).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if members is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Load:
    """What came of a load: answers in the time, and how long each took."""

    seconds: float
    spent: list[float] = field(default_factory=list, repr=False)

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return len(self.spent) / self.seconds


class Connection:
    """One connection, one request after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect."""
        return cls(*await asyncio.open_connection(HOST, port))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; the answer's status and body."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 : head.index(b"\r", at)]) if at >= 0 else 0
        return status, await self._reader.readexactly(length) if length else b""

    async def ask_members(self, request: bytes, expected: int) -> dict[str, Any]:
        """Send a request whose answer must have a status; its members."""
        status, body = await self.ask(request)
        assert status == expected, (status, body)
        members: dict[str, Any] = json.loads(body) if body else {}
        return members

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


async def keep_asking(
    port: int, request: Callable[[], bytes], *, expected: int, seconds: float, connections: int
) -> Load:
    """Ask from so many connections at once, each as fast as it is answered, and count the answers."""
    opened = [await Connection.open(port) for _ in range(connections)]
    began = time.perf_counter()
    load = Load(seconds)

    async def ask_on(connection: Connection) -> None:
        while (sent := time.perf_counter()) < began + seconds:
            status, body = await connection.ask(request())
            assert status == expected, (status, body)
            load.spent.append(time.perf_counter() - sent)

    await asyncio.gather(*map(ask_on, opened))
    load.seconds = time.perf_counter() - began
    for connection in opened:
        connection.close()
    return load
