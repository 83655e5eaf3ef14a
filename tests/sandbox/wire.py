"""A connection on which the test chooses every message id, sequence number, salt and byte.

Framing, key exchange and key derivation are Telethon's, so that the sandbox is not measured by itself.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import struct
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any, NamedTuple

from telethon.crypto import AES, rsa
from telethon.errors import SecurityError
from telethon.extensions import BinaryReader
from telethon.network import ConnectionTcpFull
from telethon.network.authenticator import do_authentication
from telethon.network.mtprotoplainsender import MTProtoPlainSender
from telethon.network.mtprotostate import MTProtoState
from telethon.tl import TLObject, alltlobjects, functions, types
from telethon.tl.core import GzipPacked, MessageContainer, RpcResult

from sandbox.process import RunningSandbox
from tests.sandbox.clients import API_HASH, API_ID, login_url

LOGGERS: dict[str, Any] = defaultdict(lambda: logging.getLogger("wire"))
EXPORT = functions.auth.ExportLoginTokenRequest(API_ID, API_HASH, [])
_PATIENCE_SECONDS = 10


class Received(NamedTuple):
    """One message from the server."""

    msg_id: int
    seq_no: int
    body: Any
    was_packed: bool = False
    """Whether the result inside was gzipped."""


class RpcFailure(Exception):
    """Raised when a call is answered with an error."""

    def __init__(self, error: Any) -> None:
        super().__init__(error.error_message)
        self.code, self.message = error.error_code, error.error_message


class Wire:
    """One connection with an auth key."""

    def __init__(self, connection: Any, auth_key: Any) -> None:
        self.connection = connection
        self.auth_key = auth_key
        self.session_id = int.from_bytes(os.urandom(8), "little", signed=True)
        self.salt = 0
        self.state = MTProtoState(auth_key, LOGGERS)
        self.content_sent = 0
        self._inbox: list[Received] = []

    # -- out

    def new_msg_id(self) -> int:
        """Return the next message id by the rules."""
        return int(self.state._get_new_msg_id())

    def next_seq_no(self, *, content_related: bool) -> int:
        """Return the next sequence number by the rules."""
        seq_no = self.content_sent * 2 + (1 if content_related else 0)
        self.content_sent += 1 if content_related else 0
        return seq_no

    async def send(
        self,
        body: TLObject | bytes,
        *,
        msg_id: int | None = None,
        seq_no: int | None = None,
        content_related: bool = True,
    ) -> int:
        """Send one message; return its id."""
        msg_id = self.new_msg_id() if msg_id is None else msg_id
        seq_no = self.next_seq_no(content_related=content_related) if seq_no is None else seq_no
        serialized = body if isinstance(body, bytes) else bytes(body)
        await self.connection.send(self.seal(msg_id, seq_no, serialized))
        return msg_id

    def seal(self, msg_id: int, seq_no: int, body: bytes) -> bytes:
        """Encrypt one message as Telethon would."""
        self.state.salt, self.state.id = self.salt, self.session_id
        sealed: bytes = self.state.encrypt_message_data(struct.pack("<qii", msg_id, seq_no, len(body)) + body)
        return sealed

    async def send_container(self, *messages: tuple[int, int, bytes], msg_id: int | None = None) -> int:
        """Send messages, each with its id and sequence number, in one container."""
        packed = b"".join(struct.pack("<qii", i, s, len(b)) + b for i, s, b in messages)
        body = struct.pack("<Ii", MessageContainer.CONSTRUCTOR_ID, len(messages)) + packed
        return await self.send(body, msg_id=msg_id, content_related=False)

    # -- in

    async def receive(self, matches: Callable[[Received], bool] = lambda _received: True) -> Received:
        """Return the next message that matches; the others stay for later."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                found = next((received for received in self._inbox if matches(received)), None)
                if found is not None:
                    self._inbox.remove(found)
                    return found
                self._inbox += self._open(await self.connection.recv())

    async def receive_a(self, kind: type) -> Received:
        """Return the next message with such a body."""
        return await self.receive(lambda received: isinstance(received.body, kind))

    async def answer_to(self, msg_id: int) -> Any:
        """Return the result of a call; raise RpcFailure for an error."""
        return BinaryReader(await self.bytes_for(msg_id)).tgread_object()

    async def bytes_for(self, msg_id: int) -> bytes:
        """Return the serialized result of a call; raise RpcFailure for an error."""
        found = await self.receive(lambda r: isinstance(r.body, RpcResult) and r.body.req_msg_id == msg_id)
        if found.body.error:
            raise RpcFailure(found.body.error)
        return bytes(found.body.body)

    async def call(self, request: TLObject) -> Any:
        """Send a call and return its result."""
        return await self.answer_to(await self.send(request))

    async def learn_salt(self) -> None:
        """Get the current salt the hard way."""
        await self.send(functions.PingRequest(0))
        self.salt = (await self.receive_a(types.BadServerSalt)).body.new_server_salt

    async def introduce(self, *, layer: int = alltlobjects.LAYER) -> Any:
        """Do what every client does first; return the config."""
        return await self.call(introduction(functions.help.GetConfigRequest(), layer=layer))

    async def is_closed(self) -> bool:
        """Wait for the server to hang up; anything that it still says is no hanging up."""
        try:
            await asyncio.wait_for(self.connection.recv(), _PATIENCE_SECONDS)
        except (ConnectionError, asyncio.IncompleteReadError):
            return True
        return False

    def _open(self, frame: bytes) -> list[Received]:
        msg_key = frame[8:24]
        key = self.auth_key.key
        plain = AES.decrypt_ige(frame[24:], *MTProtoState._calc_key(key, msg_key, False))
        assert sha256(key[96:128] + plain).digest()[8:24] == msg_key
        _salt, session_id, msg_id, seq_no, length = struct.unpack_from("<qqqii", plain)
        assert session_id == self.session_id
        return _parse(msg_id, seq_no, plain[32 : 32 + length])


def _parse(msg_id: int, seq_no: int, body: bytes) -> list[Received]:
    if int.from_bytes(body[:4], "little") != MessageContainer.CONSTRUCTOR_ID:
        packed = body[:4] == struct.pack("<I", RpcResult.CONSTRUCTOR_ID) and body[12:16] == struct.pack(
            "<I", GzipPacked.CONSTRUCTOR_ID
        )
        return [Received(msg_id, seq_no, BinaryReader(body).tgread_object(), packed)]
    found, position = [], 8
    while position < len(body):
        inner_id, inner_seq_no, length = struct.unpack_from("<qii", body, position)
        found += _parse(inner_id, inner_seq_no, body[position + 16 : position + 16 + length])
        position += 16 + length
    return found


def introduction(query: TLObject, *, api_id: int = API_ID, layer: int = alltlobjects.LAYER) -> TLObject:
    """Wrap a call in what every client says first."""
    inner = functions.InitConnectionRequest(api_id, "device", "system", "1.0", "en", "", "en", query)
    return functions.InvokeWithLayerRequest(layer, inner)


def gzipped(body: TLObject, compress: Callable[[bytes], bytes] = gzip.compress) -> bytes:
    """Pack a request as clients do with long ones."""
    packed = compress(bytes(body))
    return struct.pack("<I", GzipPacked.CONSTRUCTOR_ID) + bytes(TLObject.serialize_bytes(packed))


class Wires:
    """Makes connections to a sandbox, and closes them when the test ends."""

    def __init__(self, sandbox: RunningSandbox) -> None:
        self.sandbox = sandbox
        self._connections: list[Any] = []
        rsa.add_key(sandbox.public_key_file.read_text(), old=False)

    async def open(self, *, dc_id: int = 2, transport: Any = ConnectionTcpFull) -> Any:
        """Return a connection of Telethon's without an auth key."""
        connection = transport("127.0.0.1", self.sandbox.dcs[dc_id], dc_id, loggers=LOGGERS)
        await connection.connect(timeout=_PATIENCE_SECONDS)
        self._connections.append(connection)
        return connection

    async def exchange_key(self, *, dc_id: int = 2, transport: Any = ConnectionTcpFull) -> Wire:
        """Return a connection with a new auth key that nothing was said with yet."""
        for _attempt in range(3):
            connection = await self.open(dc_id=dc_id, transport=transport)
            try:
                auth_key, _offset = await do_authentication(MTProtoPlainSender(connection, loggers=LOGGERS))
            except SecurityError:  # Telethon's own, once in 256: it hashes a key that begins with 0 unpadded
                continue
            return Wire(connection, auth_key)
        raise AssertionError("three handshakes in a row failed")

    async def start(self, *, dc_id: int = 2, transport: Any = ConnectionTcpFull) -> Wire:
        """Return a connection that is ready for calls."""
        wire = await self.exchange_key(dc_id=dc_id, transport=transport)
        await wire.learn_salt()
        await wire.introduce()
        return wire

    async def log_in(self, **fields: Any) -> Wire:
        """Return a connection that is logged in to a new account, but for its password if it has one."""
        wire, driver = await self.start(), self.sandbox.driver
        exported = await wire.call(EXPORT)
        account = await asyncio.to_thread(driver.create_account, **fields)
        await asyncio.to_thread(driver.scan, account["id"], login_url(exported.token))
        with suppress(RpcFailure):
            assert isinstance(await wire.call(EXPORT), types.auth.LoginTokenSuccess)
        return wire

    async def another(self, wire: Wire, *, same_session: bool = False) -> Wire:
        """Return a second connection with the same auth key."""
        other = Wire(await self.open(), wire.auth_key)
        other.salt = wire.salt
        other.state._last_msg_id = wire.state._last_msg_id
        if same_session:
            other.session_id, other.content_sent = wire.session_id, wire.content_sent
        return other

    async def close_all(self) -> None:
        """Close every connection."""
        for connection in self._connections:
            await connection.disconnect()
