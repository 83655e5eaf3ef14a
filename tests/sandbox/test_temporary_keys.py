"""Perfect forward secrecy: calls under a temporary auth key that is bound to the permanent one. mtcute and TDLib do so."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha1
from typing import Any

import pytest
from telethon.crypto import AES
from telethon.network import authenticator
from telethon.tl import functions, types

from tests.sandbox.clients import login_url
from tests.sandbox.wire import EXPORT, RpcFailure, Wire, Wires, introduction

DAY_SECONDS = 86_400
OURSELVES = functions.users.GetUsersRequest([types.InputUserSelf()])


@contextmanager
def temporary_keys(life_seconds: int) -> Iterator[None]:
    """Let Telethon ask for temporary keys, which it never does by itself."""
    ordinary = authenticator.PQInnerData
    authenticator.PQInnerData = partial(types.PQInnerDataTemp, expires_in=life_seconds)
    try:
        yield
    finally:
        authenticator.PQInnerData = ordinary


async def temporary_wire(wires: Wires, *, life_seconds: int = DAY_SECONDS) -> Wire:
    """Return a connection with a temporary key that knows its salt."""
    with temporary_keys(life_seconds):
        wire = await wires.exchange_key()
    await wire.learn_salt()
    return wire


@dataclass(frozen=True)
class Binding:
    """What is said about a binding: inside the sealed message and, unless it is spoiled, in the request."""

    temporary: Wire
    permanent: Wire
    msg_id: int
    nonce: int = 1234
    expires_at: int = 0

    def request(self, **spoiled: Any) -> bytes:
        """Return a serialized auth.bindTempAuthKey, some of whose arguments differ from what is sealed."""
        key = self.permanent.auth_key
        key_id = struct.unpack("<q", struct.pack("<Q", key.key_id))[0]
        expires_at = datetime.fromtimestamp(self.expires_at or int(time.time()) + 1000, UTC)
        told: dict[str, Any] = {"perm_auth_key_id": key_id, "nonce": self.nonce, "expires_at": expires_at}
        temp_key_id = struct.unpack("<q", struct.pack("<Q", self.temporary.auth_key.key_id))[0]
        inner = bytes(types.BindAuthKeyInner(self.nonce, temp_key_id, key_id, self.temporary.session_id, expires_at))
        message = os.urandom(16) + struct.pack("<qii", self.msg_id, 0, len(inner)) + inner
        msg_key = sha1(message).digest()[4:20]
        sealed = AES.encrypt_ige(message + os.urandom(-len(message) % 16), *old_key(key.key, msg_key))
        told["encrypted_message"] = struct.pack("<Q", key.key_id) + msg_key + sealed
        return bytes(functions.auth.BindTempAuthKeyRequest(**{**told, **spoiled}))


def old_key(key: bytes, msg_key: bytes) -> tuple[bytes, bytes]:
    """Derive AES key and IV as MTProto 1.0 does."""
    a, b = sha1(msg_key + key[:32]).digest(), sha1(key[32:48] + msg_key + key[48:64]).digest()
    c, d = sha1(key[64:96] + msg_key).digest(), sha1(msg_key + key[96:128]).digest()
    return a[0:8] + b[8:20] + c[4:16], a[8:20] + b[0:8] + c[16:20] + d[0:8]


async def bind(temporary: Wire, permanent: Wire) -> Any:
    """Bind, and introduce the client under the new key."""
    msg_id = temporary.new_msg_id()
    body = Binding(temporary, permanent, msg_id).request()
    bound = await temporary.answer_to(await temporary.send(body, msg_id=msg_id))
    await temporary.introduce()
    return bound


async def test_a_binding_may_come_with_the_introduction(wires: Wires) -> None:
    """In one request, wrapped as any other."""
    permanent, temporary = await wires.exchange_key(), await temporary_wire(wires)
    msg_id = temporary.new_msg_id()
    head = bytes(introduction(EXPORT)).removesuffix(bytes(EXPORT))
    body = head + Binding(temporary, permanent, msg_id).request()
    assert await temporary.answer_to(await temporary.send(body, msg_id=msg_id)) is True
    assert (await temporary.call(EXPORT)).token


async def test_a_bound_key_stands_for_the_permanent_one(wires: Wires) -> None:
    """A QR login under it is the permanent key's, and the update comes to it."""
    permanent, temporary = await wires.exchange_key(), await temporary_wire(wires)
    assert await bind(temporary, permanent) is True
    token = (await temporary.call(EXPORT)).token
    account = wires.sandbox.driver.create_account()
    wires.sandbox.driver.scan(account["id"], login_url(token))
    await temporary.receive(lambda received: isinstance(received.body, types.UpdateShort))
    assert isinstance(await temporary.call(EXPORT), types.auth.LoginTokenSuccess)
    await permanent.learn_salt()
    assert (await permanent.call(OURSELVES))[0].id == account["id"]


async def test_an_unbound_key_may_call_nothing(wires: Wires) -> None:
    """AUTH_KEY_PERM_EMPTY, 401; pings are no calls."""
    temporary = await temporary_wire(wires)
    with pytest.raises(RpcFailure, match="AUTH_KEY_PERM_EMPTY") as refusal:
        await temporary.introduce()
    assert refusal.value.code == 401


async def test_the_last_key_that_was_bound_counts(wires: Wires) -> None:
    """A permanent key has one temporary key at a time."""
    permanent, first, second = await wires.exchange_key(), await temporary_wire(wires), await temporary_wire(wires)
    await bind(first, permanent)
    await bind(second, permanent)
    with pytest.raises(RpcFailure, match="AUTH_KEY_PERM_EMPTY"):
        await first.call(EXPORT)
    assert (await second.call(EXPORT)).token


async def test_a_temporary_key_expires(wires: Wires) -> None:
    """Transport error 404 then, as for any unknown key."""
    temporary = await temporary_wire(wires, life_seconds=1)
    while not await hung_up(temporary):
        pass


async def hung_up(wire: Wire) -> bool:
    """Ping; tell whether the server answered with a transport error instead."""
    await wire.send(functions.PingRequest(1))
    frame = await wire.connection.recv()
    return bool(frame == struct.pack("<i", -404))


@pytest.mark.parametrize(
    ("spoiled", "error"),
    [
        ({"nonce": 1}, "ENCRYPTED_MESSAGE_INVALID"),
        ({"perm_auth_key_id": 1}, "ENCRYPTED_MESSAGE_INVALID"),
        ({"encrypted_message": bytes(104)}, "ENCRYPTED_MESSAGE_INVALID"),
        ({"encrypted_message": b""}, "ENCRYPTED_MESSAGE_INVALID"),
        ({"expires_at": datetime.fromtimestamp(1000, UTC)}, "EXPIRES_AT_INVALID"),
        ({"expires_at": datetime.fromtimestamp(2**31 - 1, UTC)}, "EXPIRES_AT_INVALID"),
    ],
)
async def test_a_binding_must_agree_with_what_is_sealed(wires: Wires, spoiled: dict[str, Any], error: str) -> None:
    """Only the owner of the permanent key can bind to it."""
    permanent, temporary = await wires.exchange_key(), await temporary_wire(wires)
    msg_id = temporary.new_msg_id()
    body = Binding(temporary, permanent, msg_id).request(**spoiled)
    with pytest.raises(RpcFailure, match=error):
        await temporary.answer_to(await temporary.send(body, msg_id=msg_id))


async def test_a_binding_is_for_its_message_session_and_key(wires: Wires) -> None:
    """One that was sealed for another message, or for another permanent key, or sent under a permanent key."""
    permanent, temporary = await wires.exchange_key(), await temporary_wire(wires)
    sealed = Binding(temporary, permanent, temporary.new_msg_id())
    with pytest.raises(RpcFailure, match="ENCRYPTED_MESSAGE_INVALID"):
        await temporary.answer_to(await temporary.send(sealed.request()))
    await bind(temporary, permanent)
    stranger, msg_id = await wires.exchange_key(), temporary.new_msg_id()
    body = replace(sealed, permanent=stranger, msg_id=msg_id).request()
    with pytest.raises(RpcFailure, match="TEMP_AUTH_KEY_ALREADY_BOUND"):
        await temporary.answer_to(await temporary.send(body, msg_id=msg_id))
    await permanent.learn_salt()
    with pytest.raises(RpcFailure, match="TEMP_AUTH_KEY_EMPTY"):
        await permanent.answer_to(await permanent.send(sealed.request()))
