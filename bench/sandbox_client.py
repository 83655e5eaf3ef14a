"""A lean MTProto client for measuring the sandbox: arithmetic in C, one socket, no tasks.

It costs as little as it can, because it shares the machine with what it measures.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import struct
from collections import defaultdict
from hashlib import sha1
from logging import getLogger
from typing import Any

import cryptg
from flint import fmpz
from telethon import helpers
from telethon.crypto import AES, AuthKey
from telethon.extensions import BinaryReader
from telethon.network.mtprotostate import MTProtoState
from telethon.tl import TLObject, alltlobjects, functions, types

_LOGGERS: Any = defaultdict(lambda: getLogger(__name__))
API_ID, API_HASH = 1, "bench"


class LeanClient:
    """One connection with a key of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._state: Any = None
        self._content_sent = 0

    @classmethod
    async def connect(cls, port: int) -> LeanClient:
        """Open a connection on the intermediate transport."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**14)
        writer.write(b"\xee" * 4)
        return cls(reader, writer)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    # -- the key

    async def exchange_key(self, *, modulus: int, exponent: int, fingerprint: int) -> None:
        """Make an auth key with the server that has this RSA key."""
        nonce = int.from_bytes(os.urandom(16), "little", signed=True)
        new_nonce = int.from_bytes(os.urandom(32), "little", signed=True)
        offered = await self._ask(functions.ReqPqMultiRequest(nonce))
        p, q = (factor.to_bytes(4, "big") for factor in cryptg.factorize_pq_pair(int.from_bytes(offered.pq, "big")))
        nonces = (nonce, offered.server_nonce)
        inner = bytes(types.PQInnerData(offered.pq, p, q, *nonces, new_nonce))
        padded = int.from_bytes(sha1(inner).digest() + inner + os.urandom(235 - len(inner)), "big")
        encrypted = int(pow(fmpz(padded), exponent, modulus)).to_bytes(256, "big")
        params = await self._ask(functions.ReqDHParamsRequest(*nonces, p, q, fingerprint, encrypted))
        key, iv = helpers.generate_key_data_from_nonce(offered.server_nonce, new_nonce)
        dh = BinaryReader(AES.decrypt_ige(params.encrypted_answer, key, iv)[20:]).tgread_object()
        prime, secret = int.from_bytes(dh.dh_prime, "big"), secrets.randbits(512)
        g_b = int(pow(fmpz(dh.g), secret, prime)).to_bytes(256, "big")
        shared = int(pow(fmpz(int.from_bytes(dh.g_a, "big")), secret, prime)).to_bytes(256, "big")
        own = bytes(types.ClientDHInnerData(*nonces, 0, g_b))
        hashed = sha1(own).digest() + own
        sealed = AES.encrypt_ige(hashed + os.urandom(-len(hashed) % 16), key, iv)
        verdict = await self._ask(functions.SetClientDHParamsRequest(*nonces, sealed))
        assert isinstance(verdict, types.DhGenOk)
        self._state = MTProtoState(AuthKey(shared), _LOGGERS)
        first_salt = (new_nonce ^ offered.server_nonce) & (2**64 - 1)
        self._state.salt = int.from_bytes(first_salt.to_bytes(8, "little"), "little", signed=True)

    async def _ask(self, request: TLObject) -> Any:
        body = bytes(request)
        self._send(struct.pack("<qqi", 0, 0, len(body)) + body)
        return BinaryReader((await self._receive())[20:]).tgread_object()

    # -- calls

    async def introduce(self) -> None:
        """Say what every client says first."""
        query = functions.help.GetConfigRequest()
        introduction = functions.InitConnectionRequest(API_ID, "bench", "bench", "1", "en", "", "en", query)
        await self.call(functions.InvokeWithLayerRequest(alltlobjects.LAYER, introduction))

    async def call(self, request: TLObject) -> bytes:
        """Make a call; return its serialized result."""
        body, msg_id = bytes(request), self._state._get_new_msg_id()
        header = struct.pack("<qii", msg_id, self._content_sent * 2 + 1, len(body))
        self._content_sent += 1
        self._send(self._state.encrypt_message_data(header + body))
        while True:
            received = self._state.decrypt_message_data(await self._receive()).obj
            for found in (inner.obj for inner in received.messages) if hasattr(received, "messages") else (received,):
                if getattr(found, "req_msg_id", None) == msg_id:
                    assert not found.error, found.error
                    return bytes(found.body)

    def _send(self, payload: bytes) -> None:
        self._writer.write(len(payload).to_bytes(4, "little") + payload)

    async def _receive(self) -> bytes:
        length = int.from_bytes(await self._reader.readexactly(4), "little")
        return await self._reader.readexactly(length)
