"""The transports, against the codecs of Telethon."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from telethon.network import (
    ConnectionTcpAbridged,
    ConnectionTcpFull,
    ConnectionTcpIntermediate,
    ConnectionTcpObfuscated,
)
from telethon.network.connection.tcpabridged import AbridgedPacketCodec
from telethon.network.connection.tcpfull import FullPacketCodec
from telethon.network.connection.tcpintermediate import IntermediatePacketCodec, RandomizedIntermediatePacketCodec
from telethon.network.connection.tcpobfuscated import ObfuscatedIO
from telethon.tl import functions

from sandbox.mtproto.transports import MAXIMUM_PAYLOAD_BYTES, Frame, Link, TransportError
from tests.sandbox.wire import Wires

CODECS = [FullPacketCodec, AbridgedPacketCodec, IntermediatePacketCodec, RandomizedIntermediatePacketCodec]
OBFUSCATED = [AbridgedPacketCodec, IntermediatePacketCodec, RandomizedIntermediatePacketCodec]
_OPENINGS: dict[Any, bytes] = {
    FullPacketCodec: b"",
    AbridgedPacketCodec: b"\xef",
    IntermediatePacketCodec: b"\xee" * 4,
    RandomizedIntermediatePacketCodec: b"\xdd" * 4,
}
plain_payload = b"\0" * 8 + os.urandom(8) + (40).to_bytes(4, "little") + os.urandom(40)


class PlainPeer:
    """The client's side, on Telethon's codec."""

    def __init__(self, codec: Any) -> None:
        self._codec = codec(None)
        self.opening: bytes = _OPENINGS[codec]

    def encode(self, payload: bytes) -> bytes:
        return bytes(self._codec.encode_packet(payload))

    def decode(self, data: bytes) -> bytes:
        async def read() -> bytes:
            reader = asyncio.StreamReader()
            reader.feed_data(data)
            return bytes(await self._codec.read_packet(reader))

        return asyncio.run(read())


class ObfuscatedPeer(PlainPeer):
    """The client's side, inside Telethon's obfuscation."""

    def __init__(self, codec: Any) -> None:
        super().__init__(codec)
        header, self._encryptor, self._decryptor = ObfuscatedIO.init_header(codec)
        self.opening = bytes(header)

    def encode(self, payload: bytes) -> bytes:
        return bytes(self._encryptor.encrypt(super().encode(payload)))

    def decode(self, data: bytes) -> bytes:
        return super().decode(bytes(self._decryptor.encrypt(data)))


PEERS: list[Callable[[], PlainPeer]] = [
    *(lambda codec=codec: PlainPeer(codec) for codec in CODECS),
    *(lambda codec=codec: ObfuscatedPeer(codec) for codec in OBFUSCATED),
]


@pytest.fixture(params=PEERS, ids=[*(c.__name__ for c in CODECS), *(f"obfuscated {c.__name__}" for c in OBFUSCATED)])
def peer(request: pytest.FixtureRequest) -> PlainPeer:
    """A client that speaks one of the transports."""
    made: PlainPeer = request.param()
    return made


def payloads(link: Link, data: bytes) -> list[bytes]:
    """Return what the link makes of these bytes."""
    return [frame.payload for frame in link.receive(data)]


def test_every_transport_is_recognized(peer: PlainPeer) -> None:
    """By its first bytes, whatever the length of what follows, and answered in kind."""
    link = Link()
    long, key = plain_payload[:16] + (4000).to_bytes(4, "little") + os.urandom(4000), b"k" * 24
    sent = [plain_payload, key + os.urandom(16), key + os.urandom(1600), long]
    assert payloads(link, peer.opening + b"".join(map(peer.encode, sent))) == sent
    for payload in sent:
        assert peer.decode(link.encode(payload))[: len(payload)] == payload


def test_bytes_may_come_one_by_one(peer: PlainPeer) -> None:
    """TCP keeps no boundaries."""
    link, found = Link(), []
    for byte in peer.opening + peer.encode(plain_payload):
        found += payloads(link, bytes([byte]))
    assert found == [plain_payload]


@given(cuts=st.lists(st.integers(1, 300), max_size=8))
def test_bytes_may_come_in_any_pieces(cuts: list[int]) -> None:
    """The frames are the same, however the stream is cut."""
    peer = ObfuscatedPeer(IntermediatePacketCodec)
    stream, link, found = peer.opening + peer.encode(plain_payload) + peer.encode(plain_payload), Link(), []
    for length in [*cuts, len(stream)]:
        found += payloads(link, stream[:length])
        stream = stream[length:]
    assert found == [plain_payload] * 2


def test_a_wrong_checksum_ends_the_connection() -> None:
    """Only the full transport has one."""
    frame = bytearray(PlainPeer(FullPacketCodec).encode(plain_payload))
    frame[20] ^= 1
    with pytest.raises(TransportError, match="checksum"):
        payloads(Link(), bytes(frame))


def test_the_full_transport_counts_its_frames() -> None:
    """A frame out of turn ends the connection."""
    peer, link = PlainPeer(FullPacketCodec), Link()
    first = peer.encode(plain_payload)
    assert payloads(link, first) == [plain_payload]
    with pytest.raises(TransportError, match="sequence number"):
        payloads(link, first)


@pytest.mark.parametrize("length", [0, MAXIMUM_PAYLOAD_BYTES + 4])
def test_an_impossible_length_ends_the_connection(length: int) -> None:
    """Before anything of that length is waited for."""
    with pytest.raises(TransportError, match="bytes"):
        payloads(Link(), b"\xee" * 4 + length.to_bytes(4, "little"))


def test_what_is_no_transport_ends_the_connection() -> None:
    """A browser, for one."""
    with pytest.raises(TransportError, match="no transport"):
        payloads(Link(), b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a browser that lost its way\r\n\r\n")


@pytest.mark.parametrize(("opening", "head"), [(b"\xef", b"\x8a"), (b"\xee" * 4, b"\x28\0\0\x80")])
def test_a_quick_acknowledgement_is_noticed(opening: bytes, head: bytes) -> None:
    """The length's highest bit asks for one; it comes back as four bytes."""
    link = Link()
    payload = os.urandom(40)
    assert list(link.receive(opening + head + payload)) == [Frame(payload, wants_quick_ack=True)]
    token = b"\x01\x02\x03\x84"
    assert link.encode_quick_ack(token) == (token[::-1] if opening == b"\xef" else token)


@pytest.mark.parametrize(
    "transport", [ConnectionTcpFull, ConnectionTcpAbridged, ConnectionTcpIntermediate, ConnectionTcpObfuscated]
)
async def test_a_client_can_log_in_over_every_transport(wires: Wires, transport: Any) -> None:
    """From the key exchange to an answer."""
    wire = await wires.start(transport=transport)
    assert (await wire.call(functions.help.GetNearestDcRequest())).this_dc == 2
