"""The encrypted envelope of MTProto 2.0: msg_key, AES key derivation, padding.

Bytes in, bytes out; keeps no state.

Source: https://core.telegram.org/mtproto/description
"""

import secrets
import struct
from hashlib import sha256
from typing import Final, NamedTuple

from sandbox.mtproto.arithmetic import decrypt_ige, encrypt_ige

_FROM_CLIENT: Final = 0
_FROM_SERVER: Final = 8
_HEADER: Final = struct.Struct("<qqqii")
_MINIMUM_PADDING_BYTES: Final = 12
_MAXIMUM_PADDING_BYTES: Final = 1024


class EnvelopeError(Exception):
    """Raised when an envelope was not made with this auth key, or not by the rules."""


class Message(NamedTuple):
    """One message: its id (the sender's clock times 2^32), its sequence number and its serialized body."""

    msg_id: int
    seq_no: int
    body: bytes


class Envelope(NamedTuple):
    """What a client's envelope held."""

    salt: int
    session_id: int
    message: Message
    quick_ack_token: bytes


def _derive(auth_key: bytes, msg_key: bytes, x: int) -> tuple[bytes, bytes]:
    a = sha256(msg_key + auth_key[x : x + 36]).digest()
    b = sha256(auth_key[x + 40 : x + 76] + msg_key).digest()
    return a[:8] + b[8:24] + a[24:], b[:8] + a[8:24] + b[24:]


def _large_msg_key(auth_key: bytes, plaintext: bytes, x: int) -> bytes:
    return sha256(auth_key[88 + x : 120 + x] + plaintext).digest()


def open_envelope(auth_key: bytes, frame: bytes) -> Envelope:
    """Decrypt and check what a client sent.

    Args:
        auth_key: the 256 bytes that the frame's key id names.
        frame: the whole payload: auth key id, msg_key, encrypted data.

    Raises:
        EnvelopeError: the msg_key, the lengths or the padding are wrong.
    """
    msg_key, encrypted = frame[8:24], frame[24:]
    if len(encrypted) < 48 or len(encrypted) % 16:
        raise EnvelopeError("the encrypted part has an impossible length")
    plaintext = decrypt_ige(encrypted, *_derive(auth_key, msg_key, _FROM_CLIENT))
    large_key = _large_msg_key(auth_key, plaintext, _FROM_CLIENT)
    if not secrets.compare_digest(large_key[8:24], msg_key):
        raise EnvelopeError("the msg_key is wrong")
    salt, session_id, msg_id, seq_no, length = _HEADER.unpack_from(plaintext)
    padding = len(plaintext) - _HEADER.size - length
    if length % 4 or length < 4 or not _MINIMUM_PADDING_BYTES <= padding <= _MAXIMUM_PADDING_BYTES:
        raise EnvelopeError("the message length or the padding is wrong")
    body = plaintext[_HEADER.size : _HEADER.size + length]
    token = (int.from_bytes(large_key[:4], "little") | 0x80000000).to_bytes(4, "little")
    return Envelope(salt, session_id, Message(msg_id, seq_no, body), token)


def seal_envelope(auth_key: bytes, auth_key_id: int, salt: int, session_id: int, message: Message) -> bytes:
    """Encrypt one message for the client that shares this auth key."""
    plain = _HEADER.pack(salt, session_id, message.msg_id, message.seq_no, len(message.body)) + message.body
    plain += secrets.token_bytes(_MINIMUM_PADDING_BYTES + -(len(plain) + _MINIMUM_PADDING_BYTES) % 16)
    msg_key = _large_msg_key(auth_key, plain, _FROM_SERVER)[8:24]
    encrypted = encrypt_ige(plain, *_derive(auth_key, msg_key, _FROM_SERVER))
    return auth_key_id.to_bytes(8, "little") + msg_key + encrypted
