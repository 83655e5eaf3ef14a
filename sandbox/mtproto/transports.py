"""The TCP transports: how payloads are framed on the wire, and how the first bytes tell which framing it is.

Full, abridged, intermediate and padded intermediate, each also inside obfuscated2. Bytes in, payloads out; no
sockets.
Source: https://core.telegram.org/mtproto/mtproto-transports
"""

import secrets
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol
from zlib import crc32

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

MAXIMUM_PAYLOAD_BYTES: Final = 2 * 1024 * 1024
"""A container holds 1 MiB at most; twice that leaves room for every legal frame."""

_ABRIDGED_TAG: Final = b"\xef"
_INTERMEDIATE_TAG: Final = b"\xee\xee\xee\xee"
_PADDED_TAG: Final = b"\xdd\xdd\xdd\xdd"
_OBFUSCATED_HEADER_BYTES: Final = 64
_QUICK_ACK_BIT: Final = 0x80000000


class TransportError(Exception):
    """Raised when the bytes of a connection are no transport's framing; the connection cannot go on."""


class Frame(NamedTuple):
    """One payload, and whether its sender asked for a quick acknowledgement of it."""

    payload: bytes
    wants_quick_ack: bool


class Codec(Protocol):
    """One framing of payloads in a stream of bytes."""

    def decode(self, buffer: bytearray) -> Frame | None:
        """Take the next whole frame off the buffer's front; None when there is none yet."""

    def encode(self, payload: bytes) -> bytes:
        """Frame a payload for the wire."""

    def encode_quick_ack(self, token: bytes) -> bytes:
        """Frame a quick acknowledgement, 4 bytes."""


def _take(buffer: bytearray, start: int, length: int) -> bytes | None:
    if length > MAXIMUM_PAYLOAD_BYTES or length < 4:
        raise TransportError(f"a frame cannot have {length} bytes")
    if len(buffer) < start + length:
        return None
    payload = bytes(buffer[start : start + length])
    del buffer[: start + length]
    return payload


class Full:
    """Length, sequence number, payload, CRC32: the only framing with a checksum."""

    __slots__ = ("_received", "_sent")

    def __init__(self) -> None:
        self._received = 0
        self._sent = 0

    def decode(self, buffer: bytearray) -> Frame | None:
        """See `Codec.decode`."""
        if len(buffer) < 4:
            return None
        frame = _take(buffer, 0, int.from_bytes(buffer[:4], "little"))
        if frame is None:
            return None
        if len(frame) < 16 or crc32(frame[:-4]) != int.from_bytes(frame[-4:], "little"):
            raise TransportError("a frame's checksum is wrong")
        if int.from_bytes(frame[4:8], "little") != self._received:
            raise TransportError("a frame's sequence number is wrong")
        self._received += 1
        return Frame(frame[8:-4], wants_quick_ack=False)

    def encode(self, payload: bytes) -> bytes:
        """See `Codec.encode`."""
        frame = struct.pack("<II", len(payload) + 12, self._sent) + payload
        self._sent += 1
        return frame + struct.pack("<I", crc32(frame))

    def encode_quick_ack(self, token: bytes) -> bytes:
        """Return nothing: this framing has no quick acknowledgements."""
        del token
        return b""


class Abridged:
    """One byte of length in words, or 0x7f and three bytes."""

    __slots__ = ()

    def decode(self, buffer: bytearray) -> Frame | None:
        """See `Codec.decode`."""
        if not buffer:
            return None
        wants_quick_ack, words = bool(buffer[0] & 0x80), buffer[0] & 0x7F
        start = 1
        if words == 0x7F:
            if len(buffer) < 4:
                return None
            start, words = 4, int.from_bytes(buffer[1:4], "little")
        payload = _take(buffer, start, words * 4)
        return None if payload is None else Frame(payload, wants_quick_ack)

    def encode(self, payload: bytes) -> bytes:
        """See `Codec.encode`."""
        words = len(payload) // 4
        return (bytes([words]) if words < 0x7F else b"\x7f" + words.to_bytes(3, "little")) + payload

    def encode_quick_ack(self, token: bytes) -> bytes:
        """See `Codec.encode_quick_ack`.

        This framing sends it in reverse, so that its first byte cannot be a length.
        """
        return token[::-1]


class Intermediate:
    """Four bytes of length."""

    __slots__ = ()

    def decode(self, buffer: bytearray) -> Frame | None:
        """See `Codec.decode`."""
        if len(buffer) < 4:
            return None
        length = int.from_bytes(buffer[:4], "little")
        payload = _take(buffer, 4, length & ~_QUICK_ACK_BIT)
        return None if payload is None else Frame(self._strip(payload), bool(length & _QUICK_ACK_BIT))

    def encode(self, payload: bytes) -> bytes:
        """See `Codec.encode`."""
        return len(payload).to_bytes(4, "little") + payload

    def encode_quick_ack(self, token: bytes) -> bytes:
        """See `Codec.encode_quick_ack`."""
        return token

    def _strip(self, payload: bytes) -> bytes:
        return payload


class PaddedIntermediate(Intermediate):
    """Intermediate with random bytes behind every payload, so that lengths tell nothing."""

    __slots__ = ()

    def encode(self, payload: bytes) -> bytes:
        """See `Codec.encode`.

        Pads by 3 bytes at most, of the 15 allowed: some clients strip no more than that.
        """
        return super().encode(payload + secrets.token_bytes(secrets.randbelow(4)))

    def _strip(self, payload: bytes) -> bytes:
        if payload[:8] == bytes(8):  # a plain message carries its own length
            return payload[: 20 + int.from_bytes(payload[16:20], "little")]
        return payload[: len(payload) - (len(payload) - 24) % 16]


_CODECS_BY_TAG: Final[dict[bytes, type[Abridged] | type[Intermediate] | type[PaddedIntermediate]]] = {
    _ABRIDGED_TAG * 4: Abridged,
    _INTERMEDIATE_TAG: Intermediate,
    _PADDED_TAG: PaddedIntermediate,
}


class Link:
    """The wire side of one connection.

    Finds out which transport the client speaks, then frames both directions.
    """

    __slots__ = ("_buffer", "_codec", "_decryptor", "_encryptor")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._codec: Codec | None = None
        self._decryptor: CipherContext | None = None
        self._encryptor: CipherContext | None = None

    def receive(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that these bytes complete.

        Raises:
            TransportError: the client speaks no transport, or broke its framing.
        """
        self._buffer += self._decryptor.update(data) if self._decryptor else data
        if self._codec is None and not self._detect():
            return
        assert self._codec is not None
        while (frame := self._codec.decode(self._buffer)) is not None:
            yield frame

    def encode(self, payload: bytes) -> bytes:
        """Frame a payload the way this client does."""
        assert self._codec is not None, "a server never speaks first"
        return self._conceal(self._codec.encode(payload))

    def encode_quick_ack(self, token: bytes) -> bytes:
        """Frame a quick acknowledgement the way this client does."""
        assert self._codec is not None, "a server never speaks first"
        return self._conceal(self._codec.encode_quick_ack(token))

    def _conceal(self, data: bytes) -> bytes:
        return self._encryptor.update(data) if self._encryptor else data

    def _detect(self) -> bool:
        head = bytes(self._buffer[:8])
        if head[:1] == _ABRIDGED_TAG:
            self._codec = Abridged()
            del self._buffer[:1]
        elif head[:4] in (_INTERMEDIATE_TAG, _PADDED_TAG):
            self._codec = _CODECS_BY_TAG[head[:4]]()
            del self._buffer[:4]
        elif len(head) == 8 and head[4:8] == bytes(4):  # the first sequence number of the full transport
            self._codec = Full()
        elif len(self._buffer) >= _OBFUSCATED_HEADER_BYTES:
            self._open_obfuscated()
        return self._codec is not None

    def _open_obfuscated(self) -> None:
        """Read the 64 random-looking bytes that carry both AES-CTR keys and the inner transport's tag.

        Source: https://core.telegram.org/mtproto/mtproto-transports#transport-obfuscation
        """
        header = bytes(self._buffer[:_OBFUSCATED_HEADER_BYTES])
        backwards = header[8:56][::-1]
        self._decryptor = Cipher(algorithms.AES(header[8:40]), modes.CTR(header[40:56])).encryptor()
        self._encryptor = Cipher(algorithms.AES(backwards[:32]), modes.CTR(backwards[32:])).encryptor()
        tag = self._decryptor.update(header)[56:60]
        if tag not in _CODECS_BY_TAG:
            raise TransportError("the first bytes belong to no transport")
        self._codec = _CODECS_BY_TAG[tag]()
        self._buffer = bytearray(self._decryptor.update(bytes(self._buffer[_OBFUSCATED_HEADER_BYTES:])))
