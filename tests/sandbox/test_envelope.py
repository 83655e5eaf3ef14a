"""The encrypted envelope, against Telethon's."""

from __future__ import annotations

import os
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from telethon.crypto import AuthKey
from telethon.network.mtprotostate import MTProtoState
from telethon.tl import types

from sandbox.mtproto.envelope import EnvelopeError, Message, open_envelope, seal_envelope
from tests.sandbox.wire import LOGGERS

KEY = AuthKey(os.urandom(256))


def sealed_by_telethon(body: bytes, *, msg_id: int = 4, seq_no: int = 1) -> bytes:
    """Return an envelope as a client makes it."""
    state = MTProtoState(KEY, LOGGERS)
    state.salt, state.id = 17, 42
    sealed: bytes = state.encrypt_message_data(struct.pack("<qii", msg_id, seq_no, len(body)) + body)
    return sealed


@given(words=st.integers(1, 500))
def test_a_clients_envelope_is_opened(words: int) -> None:
    """Whatever the length of its message."""
    body = os.urandom(words * 4)
    envelope = open_envelope(KEY.key, sealed_by_telethon(body, msg_id=1234, seq_no=7))
    assert (envelope.salt, envelope.session_id) == (17, 42)
    assert envelope.message == Message(1234, 7, body)


def test_a_servers_envelope_is_opened_by_telethon() -> None:
    """Key derivation, padding and all."""
    state: Any = MTProtoState(KEY, LOGGERS)
    state.id = 42
    msg_id = state._get_new_msg_id() | 1
    body = bytes(types.Pong(msg_id=1, ping_id=2))
    sealed = seal_envelope(KEY.key, KEY.key_id, 17, 42, Message(msg_id, 3, body))
    opened = state.decrypt_message_data(sealed)
    assert (opened.msg_id, opened.seq_no, opened.obj.ping_id) == (msg_id, 3, 2)


@given(position=st.integers(8, 120), bit=st.integers(0, 7))
def test_one_wrong_bit_is_noticed(position: int, bit: int) -> None:
    """In the msg_key or anywhere behind it."""
    sealed = bytearray(sealed_by_telethon(os.urandom(64)))
    sealed[position] ^= 1 << bit
    with pytest.raises(EnvelopeError):
        open_envelope(KEY.key, bytes(sealed))


@pytest.mark.parametrize("length", [0, 16, 40, 65])
def test_an_impossible_length_is_noticed(length: int) -> None:
    """Too short for a message, or no whole number of blocks."""
    with pytest.raises(EnvelopeError, match="length"):
        open_envelope(KEY.key, bytes(24 + length))


def test_a_message_longer_than_its_envelope_is_noticed() -> None:
    """So is one that leaves too little or too much padding."""
    state = MTProtoState(KEY, LOGGERS)
    state.salt, state.id = 17, 42
    for claimed, length in ((4000, 48), (56, 48), (3, 48), (4, 1200)):
        data = struct.pack("<qii", 4, 1, claimed) + os.urandom(length)
        with pytest.raises(EnvelopeError, match="message length"):
            open_envelope(KEY.key, state.encrypt_message_data(data))
