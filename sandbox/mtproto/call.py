"""One API call on its way between the protocol and whoever executes it."""

import gzip
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from sandbox import tl
from sandbox.mtproto.envelope import Message

if TYPE_CHECKING:
    from sandbox.mtproto.connection import Connection
    from sandbox.mtproto.session import Session

RPC_RESULT: Final = 0xF35C6D01
GZIP_PACKED: Final = 0x3072CFA1
_WORTH_PACKING_BYTES: Final = 512
_MAXIMUM_UNPACKED_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ExchangeFault:
    """What goes wrong with one step of an auth key exchange; nothing, by default."""

    failure: str | None = None
    """SERVER_DH_PARAMS_FAIL, DH_GEN_RETRY or DH_GEN_FAIL; means something to the step that can fail so."""
    delay_seconds: float = 0.0
    drop_connection: bool = False
    silent: bool = False


class Executor(Protocol):
    """Whoever executes API calls, and knows what is to go wrong."""

    def exchange_fault(self, step: str) -> ExchangeFault:
        """Return what goes wrong with this step of an auth key exchange."""

    def execute(self, call: "Call") -> None:
        """Answer the call, now or later, or let it go unanswered."""


class Call:
    """A call that a client made in a session over a connection; exactly one of its endings must be chosen."""

    __slots__ = ("arrived_at", "connection", "message", "session")

    def __init__(self, session: "Session", connection: "Connection", message: Message, arrived_at: float) -> None:
        """Start the call.

        Args:
            session: where the answer goes, over whatever connection serves it by then.
            connection: what the call came over.
            message: its body is the serialized request, unpacked.
            arrived_at: when its bytes arrived, on the loop's monotonic clock.
        """
        self.session = session
        self.connection = connection
        self.message = message
        self.arrived_at = arrived_at
        session.running.add(message.msg_id)

    def answer(self, result: bytes) -> None:
        """Send the serialized result or error, packed when that is shorter."""
        self.session.send(rpc_result(self.message.msg_id, result), content_related=True, answer_to=self.message.msg_id)
        self.session.finish(self.message.msg_id)

    def leave_unanswered(self) -> None:
        """End the call without a word."""
        self.session.finish(self.message.msg_id)


def rpc_result(msg_id: int, result: bytes) -> bytes:
    """Wrap the serialized result of the call with this msg_id."""
    if len(result) > _WORTH_PACKING_BYTES:
        packed = gzip_packed(result)
        result = packed if len(packed) < len(result) else result
    return struct.pack("<Iq", RPC_RESULT, msg_id) + result


def gunzip(body: bytes) -> bytes:
    """Return what a gzip_packed object holds.

    Raises:
        ValueError: it is damaged, or holds more than any client sends.
    """
    try:
        return _unpack(tl.read_bytes(body[4:]))
    except tl.MalformedTLError as exc:
        raise ValueError("damaged gzip_packed") from exc


class BoundedGzip:
    """Reads a gzip_packed object inside another one as `gunzip` does; Telethon unpacks without a limit."""

    @staticmethod
    def from_reader(reader: Any) -> Any:
        """Read one, for `tl.also_read`."""
        return tl.GzipPacked(_unpack(reader.tgread_bytes()))


def _unpack(packed: bytes) -> bytes:
    # In gzip's wrapping or in zlib's, which mtcute sends and Telegram takes.
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS + 32)
    try:
        data = decompressor.decompress(packed, _MAXIMUM_UNPACKED_BYTES)
    except zlib.error as exc:
        raise ValueError("damaged gzip_packed") from exc
    if not decompressor.eof:
        raise ValueError("gzip_packed holds too much, or was cut short")
    return data


def gzip_packed(data: bytes) -> bytes:
    """Return a gzip_packed object that holds these bytes."""
    content = gzip.compress(data, compresslevel=1)
    header = bytes([len(content)]) if len(content) < 254 else b"\xfe" + len(content).to_bytes(3, "little")
    return struct.pack("<I", GZIP_PACKED) + header + content + bytes(-len(header + content) % 4)
