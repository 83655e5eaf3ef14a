"""Something else than Latchkey listens there, or a proxy answers for it: one kind of error, and try again later."""

from __future__ import annotations

import asyncio

import pytest

from latchkey_client import AsyncLatchkey, LatchkeyUnavailable


async def acquire_from(status: str, body: str) -> None:
    """Acquire a lease from a server that answers whatever comes with this."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with asyncio.timeout(10), AsyncLatchkey(url, "lk_test").lease("ses_1"):
            pass


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("200 OK", "<html>Welcome</html>"),
        ("201 Created", "[]"),
        ("201 Created", "{}"),
        ("409 Conflict", '{"code": "session_leased"}'),
        ("409 Conflict", '{"code": "session_leased", "holder": "bot-1", "expires_at": "soon"}'),
        ("502 Bad Gateway", "<html>nginx</html>"),
        ("503 Service Unavailable", "null"),
    ],
)
def test_an_answer_that_is_none_of_latchkeys_is_told_as_unavailable(status: str, body: str) -> None:
    """And not as a KeyError from inside."""
    with pytest.raises(LatchkeyUnavailable):
        asyncio.run(acquire_from(status, body))
