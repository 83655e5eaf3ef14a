"""A client that is not Telethon: Kurigram makes its own handshake, QR login, migration and 2FA."""

from __future__ import annotations

import pyrogram
import pytest
from pyrogram.connection.transport import TCP, TCPFull, TCPIntermediatePadded
from pyrogram.connection.transport.tcp import TCPAbridgedO, TCPIntermediate, TCPIntermediateO

from sandbox.process import RunningSandbox
from tests.sandbox.kurigram import kurigram, new_qr_login, raw, scan


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
