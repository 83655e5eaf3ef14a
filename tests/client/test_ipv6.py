"""A session at an IPv6 address is used at that address."""

from __future__ import annotations

import asyncio
import socket

import pytest

from app.settings import DataCentre
from app.telegram.string_sessions import make_string_session, read_string_session
from latchkey_client import AsyncLatchkey
from tests.sessions.stage import Stage


def _has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()
    writer.close()


async def _ipv6_door(port: int) -> tuple[asyncio.Server, list[int]]:
    """Listen at [::1] and pass on to a port at 127.0.0.1; the list counts connections."""
    came: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(1)
        there = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_forward(reader, there[1]), _forward(there[0], writer), return_exceptions=True)

    return await asyncio.start_server(serve, "::1", 0), came


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no ::1")
def test_a_session_at_an_ipv6_address_is_usable(stage: Stage, latchkey: AsyncLatchkey) -> None:
    """Telethon would go to an IPv4 address of its own instead."""
    user_id, string_session = stage.logged_in()
    auth_key, dc = read_string_session(string_session)

    async def use() -> None:
        server, came = await _ipv6_door(dc.port)
        async with server:
            there = DataCentre(dc.dc_id, "::1", server.sockets[0].getsockname()[1])
            moved = make_string_session(auth_key=auth_key, data_centre=there)
            session_id = await asyncio.to_thread(stage.keep, user_id, moved)
            async with latchkey.lease(session_id) as client:
                assert (await client.get_me()).id == user_id
            assert came == [1]

    asyncio.run(use())
    assert stage.violations() == {}
