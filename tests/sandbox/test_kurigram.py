"""A client that is not Telethon: Kurigram makes its own handshake, QR login, migration and 2FA."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pyrogram
import pytest
import rsa
from pyrogram.connection import Connection
from pyrogram.connection.transport import TCP, TCPAbridged, TCPFull, TCPIntermediatePadded
from pyrogram.connection.transport.tcp import TCPAbridgedO, TCPIntermediate, TCPIntermediateO
from pyrogram.crypto import rsa as kurigram_rsa
from pyrogram.qrlogin import QRLogin
from telethon.crypto.rsa import _compute_fingerprint

from sandbox.process import RunningSandbox

_LONGEST_SECONDS = 20

# What it ships as types does not name what it generates.
raw: Any = pyrogram.raw
new_qr_login: Any = QRLogin


@asynccontextmanager
async def kurigram(sandbox: RunningSandbox, transport: type[TCP] = TCPAbridged) -> AsyncIterator[Any]:
    """Give a connected Kurigram client that is pointed at the sandbox from outside."""
    key = rsa.PublicKey.load_pkcs1(sandbox.public_key_file.read_bytes())
    kurigram_rsa.server_public_keys[_compute_fingerprint(key)] = kurigram_rsa.PublicKey(key.n, key.e)

    class ToTheSandbox(Connection):
        """Kurigram knows Telegram's addresses by heart; this knows the sandbox's."""

        def __init__(self, **arguments: Any) -> None:
            port = sandbox.dcs[arguments["dc_id"]]
            super().__init__(**{**arguments, "server_address": "127.0.0.1", "port": port})

    client = pyrogram.Client(
        "alice", api_id=1, api_hash="x", in_memory=True, connection_factory=ToTheSandbox, protocol_factory=transport
    )
    await client.connect()
    try:
        yield client
    finally:
        await client.disconnect()


async def scan(sandbox: RunningSandbox, login: QRLogin, account: dict[str, Any]) -> Any:
    """Wait for the update as Kurigram does, while a phone scans."""
    waiting = asyncio.ensure_future(login.wait(_LONGEST_SECONDS))
    # Kurigram listens from its first step on; that step is over when another task gets its turn.
    await asyncio.sleep(0)
    await asyncio.to_thread(sandbox.driver.scan, account["id"], login.url)
    return await waiting


@pytest.mark.parametrize("dc_id", [2, 3])
async def test_kurigram_logs_in_by_qr_code(sandbox: RunningSandbox, dc_id: int) -> None:
    """At the data centre it came to, and at another one that it is sent to."""
    alice = sandbox.driver.create_account(dc_id=dc_id, first_name="Alice")
    async with kurigram(sandbox) as client:
        login = new_qr_login(client)
        await login.recreate()
        user = await scan(sandbox, login, alice)
        assert (user.id, user.first_name) == (alice["id"], "Alice")
        assert (await client.get_me()).id == alice["id"]
        assert (await client.invoke(raw.functions.updates.GetState())).pts == 1


async def test_kurigram_proves_a_password(sandbox: RunningSandbox) -> None:
    """Its own SRP, after a wrong one, and then it logs out."""
    charlie = sandbox.driver.create_account(password="correct horse", hint="battery")
    async with kurigram(sandbox) as client:
        login = new_qr_login(client)
        await login.recreate()
        with pytest.raises(pyrogram.errors.SessionPasswordNeeded):
            await scan(sandbox, login, charlie)
        assert await client.get_password_hint() == "battery"
        with pytest.raises(pyrogram.errors.PasswordHashInvalid):
            await client.check_password("wrong")
        assert (await client.check_password("correct horse")).id == charlie["id"]
        assert len(sandbox.driver.authorizations(charlie["id"])) == 1
        await client.invoke(raw.functions.auth.LogOut())
        assert sandbox.driver.authorizations(charlie["id"]) == []


@pytest.mark.parametrize("transport", [TCPFull, TCPAbridgedO, TCPIntermediate, TCPIntermediateO, TCPIntermediatePadded])
async def test_kurigram_speaks_every_transport(sandbox: RunningSandbox, transport: type[TCP]) -> None:
    """Handshake and a call; the abridged one is in the other tests."""
    async with kurigram(sandbox, transport) as client:
        assert (await client.invoke(raw.functions.help.GetNearestDc())).this_dc == 2


async def test_kurigram_sees_a_login_end(sandbox: RunningSandbox) -> None:
    """Ended from the phone, its next call is refused."""
    alice = sandbox.driver.create_account()
    async with kurigram(sandbox) as client:
        login = new_qr_login(client)
        await login.recreate()
        await scan(sandbox, login, alice)
        sandbox.driver.terminate(alice["id"])
        with pytest.raises(pyrogram.errors.SessionRevoked):
            await client.get_me()


async def test_kurigram_logs_in_by_phone_code(sandbox: RunningSandbox) -> None:
    """The code that it was sent is on the account's phone."""
    bob = sandbox.driver.create_account()
    async with kurigram(sandbox) as client:
        sent = await client.send_phone_number_code(bob["phone"])
        code = sandbox.driver.messages(bob["id"])[-1]["code"]
        assert (await client.sign_in(bob["phone"], sent.phone_code_hash, code)).id == bob["id"]
