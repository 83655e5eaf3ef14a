"""A connection to something that does not behave like Telegram: one kind of error, at once, and no memory spent."""

from __future__ import annotations

import asyncio
import gzip
import struct
from types import SimpleNamespace
from typing import Any

import pytest
from telethon.tl.types import DcOption

from app.clock import utc_now
from app.errors import Transient
from app.settings import DataCentre
from app.telegram import bounds
from app.telegram.connection import TelegramConnection
from app.telegram.errors import ConnectionLost
from app.telegram.identity import ApiIdentity
from app.telegram.string_sessions import make_string_session, read_string_session

ME = ApiIdentity(api_id=1, api_hash="x", device_model="d", system_version="s", app_version="a")


def connection_to(port: int, *, auth_key: bytes | None = None, host: str = "127.0.0.1") -> TelegramConnection:
    """A connection to a data centre 2 at this port."""
    data_centre = DataCentre(2, host, port)
    return TelegramConnection(identity=ME, data_centre=data_centre, auth_key=auth_key, handshakes=asyncio.Semaphore(1))


async def open_against(answer: bytes, *, auth_key: bytes | None) -> None:
    """Open a connection to a server that answers whatever comes with these bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        connection = connection_to(server.sockets[0].getsockname()[1], auth_key=auth_key)
        async with asyncio.timeout(5):
            await connection.open()


@pytest.mark.parametrize("auth_key", [None, bytes(256)], ids=["handshake", "known key"])
@pytest.mark.parametrize(
    "answer",
    [
        struct.pack("<iii", -429, -429, -429),
        struct.pack("<ii", 2**31 - 1, 0) + b"x" * 1000,
        struct.pack("<ii", 8, 0),
        b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4,
    ],
    ids=["transport error", "2 GiB announced", "no body", "a web server"],
)
def test_what_is_no_telegram_is_waited_out(answer: bytes, auth_key: bytes | None) -> None:
    """During the handshake and after it: an error of the one class that a login tries again after."""
    with pytest.raises(Transient):
        asyncio.run(open_against(answer, auth_key=auth_key))


def test_what_unpacks_to_too_much_is_refused() -> None:
    """Ten kilobytes can hold ten megabytes; whole and honest ones are unpacked."""
    assert bounds.gunzip(gzip.compress(b"honest" * 1000)) == b"honest" * 1000
    for packed in (gzip.compress(bytes(bounds.LONGEST_UNPACKED_BYTES + 1)), gzip.compress(b"cut")[:-4], b"damaged"):
        with pytest.raises(ValueError, match="gzip_packed"):
            bounds.gunzip(packed)


def option(address: str, **flags: bool) -> Any:
    """An address of data centre 4."""
    return DcOption(id=4, ip_address=address, port=443, **flags)


@pytest.mark.parametrize(
    ("options", "host"),
    [
        (
            [option("10.0.0.4", media_only=True), option("10.0.0.5", cdn=True), option("10.0.0.6", static=True)],
            "10.0.0.6",
        ),
        ([option("2001:db8::4", ipv6=True), option("10.0.0.4")], "10.0.0.4"),
        ([option("10.0.0.4", tcpo_only=True), option("2001:db8::4", ipv6=True)], "2001:db8::4"),
        ([option("0.0.0.0")], "127.0.0.1"),
        ([option("no address"), option("10.0.0.4")], "10.0.0.4"),
    ],
    ids=["special ones are left out", "IPv4 first", "IPv6 if need be", "everywhere is here", "nonsense is left out"],
)
def test_a_data_centre_is_found_among_what_the_server_advertises(options: list[Any], host: str) -> None:
    """In the server's order, of those that a login can use."""
    connection = connection_to(4430)
    connection._learn(SimpleNamespace(dc_options=options, date=utc_now()))
    assert connection.find_data_centre(4) == DataCentre(4, host, 443)


def test_a_data_centre_that_the_server_does_not_name_is_the_present_one_or_none() -> None:
    """A server alone need not advertise itself."""
    connection = connection_to(4430)
    assert connection.find_data_centre(2) == connection.data_centre
    with pytest.raises(ConnectionLost):
        connection.find_data_centre(4)


def test_a_string_session_holds_the_address_behind_a_host_name() -> None:
    """``TELEGRAM_DC_ADDRESS`` may name a host; a string session has room for an address only."""
    text = make_string_session(auth_key=b"k" * 256, data_centre=DataCentre(2, "localhost", 4430))
    assert read_string_session(text)[1].host in ("127.0.0.1", "::1")


@pytest.mark.parametrize(("host", "known"), [("127.0.0.1", True), ("::1", True), ("localhost", False)])
def test_a_host_name_is_told_from_an_address(host: str, known: bool) -> None:
    """Only a name is looked up, which blocks."""
    assert connection_to(4430, host=host).has_address is known
