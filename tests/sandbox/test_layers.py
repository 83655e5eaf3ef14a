"""Clients of another layer than the sandbox's own: mtcute has 227, GramJS 198, Pyrogram 158."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest
from telethon.extensions import BinaryReader
from telethon.tl import TLObject, alltlobjects, functions, types

from tests.sandbox.wire import EXPORT, RpcFailure, Wires

OURSELVES = functions.users.GetUsersRequest([types.InputUserSelf()])
USER = types.User.CONSTRUCTOR_ID
USERS_BY_LAYER = [
    (155, 0x8F97C628), (162, 0xABB5F120), (166, 0xEB602F25), (181, 0x215C4438), (193, 0x83314FCA), (198, 0x4B46C37E),
    (214, 0x020B1422), (227, 0x31774388), (alltlobjects.LAYER, USER), (alltlobjects.LAYER + 100, USER),
]  # fmt: skip
"""From the schemas that clients of those layers ship."""


def read_as(constructor: int, body: bytes) -> Any:
    """Parse an object that holds a user of this constructor, after that is told from all else."""
    assert body.count(struct.pack("<I", constructor)) == 1
    return BinaryReader(body.replace(struct.pack("<I", constructor), struct.pack("<I", USER))).tgread_object()


@pytest.mark.parametrize(("layer", "constructor"), USERS_BY_LAYER)
async def test_a_user_is_shown_in_the_clients_layer(wires: Wires, layer: int, constructor: int) -> None:
    """In the answer that ends a login and in the one to users.getUsers."""
    wire = await wires.log_in(first_name="Bob")
    await wire.introduce(layer=layer)
    success = read_as(constructor, await wire.bytes_for(await wire.send(EXPORT)))
    assert isinstance(success, types.auth.LoginTokenSuccess)
    (user,) = read_as(constructor, await wire.bytes_for(await wire.send(OURSELVES)))
    assert (user.first_name, user.is_self, user.id) == ("Bob", True, success.authorization.user.id)


async def test_a_profile_is_shown_or_refused_by_the_clients_layer(wires: Wires) -> None:
    """Refused with an error rather than shown to a client that cannot read it."""
    wire = await wires.log_in(first_name="Bob")
    await wire.introduce(layer=227)
    request = functions.users.GetFullUserRequest(types.InputUserSelf())
    profile = read_as(0x31774388, await wire.bytes_for(await wire.send(request)))
    assert profile.users[0].first_name == "Bob"
    await wire.introduce(layer=198)
    with pytest.raises(RpcFailure, match="METHOD_INVALID"):
        await wire.call(request)


async def test_requests_that_had_another_number_are_understood(wires: Wires) -> None:
    """updates.getDifference and auth.resendCode, as a client of layer 155 says them."""
    wire = await wires.log_in()
    await wire.introduce(layer=155)
    difference = struct.pack("<IiiiIi", 0x25939651, 1, 5, 100, 0, 0)
    assert isinstance(await wire.answer_to(await wire.send(difference)), types.updates.DifferenceEmpty)
    phone = str((await asyncio.to_thread(wires.sandbox.driver.create_account))["phone"])
    sent = await wire.call(functions.auth.SendCodeRequest(phone, 1, "x", types.CodeSettings()))
    resend = struct.pack("<I", 0x3EF1A9BF) + tl_string(phone) + tl_string(sent.phone_code_hash)
    assert isinstance((await wire.answer_to(await wire.send(resend))).type, types.auth.SentCodeTypeSms)


def tl_string(text: str) -> bytes:
    """Serialize a string."""
    return bytes(TLObject.serialize_bytes(text))
