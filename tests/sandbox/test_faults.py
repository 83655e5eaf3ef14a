"""Faults and network weather: each does what it says, to whom it says, as often as it says."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from telethon import errors
from telethon.tl import functions, types
from telethon.tl.core import RpcResult
from telethon.tl.functions import auth

from sandbox.driver import SandboxRefusedError
from tests.sandbox.clients import API_HASH, API_ID, TelethonClients, export, login_token_updates, own_id, soon
from tests.sandbox.wire import EXPORT, RpcFailure, Wires
from tests.waiting import wait_until

NEAREST = functions.help.GetNearestDcRequest()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("AUTH_KEY_UNREGISTERED", 401),
        ("SESSION_REVOKED", 401),
        ("SESSION_EXPIRED", 401),
        ("USER_DEACTIVATED_BAN", 401),
        ("AUTH_KEY_DUPLICATED", 406),
        ("FLOOD_WAIT_17", 420),
        ("FROZEN_METHOD_INVALID", 420),
        ("PHONE_MIGRATE_3", 303),
        ("INTERNAL", 500),
        ("API_ID_INVALID", 400),
    ],
)
async def test_an_error_comes_with_its_number(wires: Wires, error: str, code: int) -> None:
    """And the call after that is answered."""
    wire = await wires.start()
    wires.sandbox.driver.add_fault("help.getNearestDc", error=error)
    with pytest.raises(RpcFailure) as failure:
        await wire.call(NEAREST)
    assert (failure.value.message, failure.value.code) == (error, code)
    wires.sandbox.driver.clear_faults()
    assert await wire.call(NEAREST)


async def test_a_fault_is_for_its_method_and_its_times(wires: Wires) -> None:
    """Other methods pass; `*` means them all; the oldest fault comes first."""
    wire, driver = await wires.start(), wires.sandbox.driver
    driver.add_fault("auth.exportLoginToken", error="FIRST", times=2)
    driver.add_fault("*", error="ANY")
    for expected in ("FIRST", "FIRST", "ANY"):
        with pytest.raises(RpcFailure, match=expected):
            await wire.call(EXPORT)
    assert await wire.call(EXPORT)
    driver.add_fault("auth.exportLoginToken", error="FIRST")
    assert await wire.call(NEAREST)


async def test_a_fault_is_for_its_key_or_user(clients: TelethonClients) -> None:
    """Others are spared."""
    driver = clients.sandbox.driver
    alice, bob = driver.create_account(), driver.create_account()
    one, other = await clients.log_in(alice), await clients.log_in(bob)
    driver.add_fault("users.getUsers", error="SESSION_EXPIRED", user_id=bob["id"])
    driver.add_fault("users.getUsers", error="SESSION_REVOKED", auth_key_id=one.session.auth_key.key_id)
    with pytest.raises(errors.SessionRevokedError):
        await own_id(one)
    with pytest.raises(errors.SessionExpiredError):
        await own_id(other)
    assert (await own_id(one), await own_id(other)) == (alice["id"], bob["id"])


async def test_a_fault_is_for_its_user_before_the_login_is_complete(clients: TelethonClients) -> None:
    """Whose login it is is told by the phone number in the request, or by the scan."""
    driver = clients.sandbox.driver
    alice, bob = (driver.create_account(password="secret", dc_id=2) for _ in range(2))
    send = [auth.SendCodeRequest(each["phone"], API_ID, API_HASH, types.CodeSettings()) for each in (alice, bob)]
    for method in ("auth.sendCode", "auth.signIn", "auth.exportLoginToken"):
        driver.add_fault(method, error=f"FLOOD_WAIT_{len(method)}", user_id=bob["id"])
    for account, request in zip((alice, bob), send, strict=True):
        client, theirs = await clients.connect(), account is bob
        with wait_of("auth.sendCode") if theirs else nullcontext():
            await client(request)
        with wait_of("auth.signIn") if theirs else pytest.raises(errors.PhoneCodeExpiredError):
            await client(auth.SignInRequest(account["phone"], "hash", "12345"))
        await clients.scan(account, await export(client))
        with wait_of("auth.exportLoginToken") if theirs else pytest.raises(errors.SessionPasswordNeededError):
            await export(client)
    assert driver.faults() == []


def wait_of(method: str) -> AbstractContextManager[Any]:
    """Expect the flood wait that the test put there for this method."""
    return pytest.raises(errors.FloodWaitError, match=f"{len(method)} seconds")


async def test_a_delayed_call_is_answered_late_and_others_meanwhile(wires: Wires) -> None:
    """The connection is not held up."""
    wire = await wires.start()
    wires.sandbox.driver.add_fault("auth.exportLoginToken", delay_ms=800)
    began = time.monotonic()
    slow, quick = await wire.send(EXPORT), await wire.send(NEAREST)
    await wire.answer_to(quick)
    assert time.monotonic() - began < 0.8
    assert (await wire.answer_to(slow)).token
    assert time.monotonic() - began >= 0.8


async def test_a_dropped_connection_is_reset(wires: Wires) -> None:
    """The call is not run; the key works on the next connection."""
    wire, driver = await wires.start(), wires.sandbox.driver
    driver.add_fault("auth.logOut", drop_connection=True)
    await wire.send(auth.LogOutRequest())
    assert await wire.is_closed()
    assert await (await wires.another(wire)).call(NEAREST)


async def test_a_silent_call_gets_no_answer(wires: Wires) -> None:
    """Nor an acknowledgement; the connection lives."""
    wire = await wires.start()
    wires.sandbox.driver.add_fault("help.getNearestDc", silent=True)
    unanswered = await wire.send(NEAREST)
    assert await wire.call(EXPORT)
    await wire.send(types.MsgsStateReq([unanswered]), content_related=False)
    assert ord((await wire.receive_a(types.MsgsStateInfo)).body.info) == 4


async def test_a_lost_update_is_lost_once(clients: TelethonClients) -> None:
    """The scan counts all the same: only its hint is gone."""
    driver, client = clients.sandbox.driver, await clients.connect()
    alice = driver.create_account()
    hints = login_token_updates(client)
    driver.add_fault("auth.exportLoginToken", lose_update=True)
    await clients.scan(alice, await export(client))
    assert isinstance(await export(client), types.auth.LoginTokenSuccess)
    assert hints.empty()
    assert driver.faults() == []
    await client(auth.LogOutRequest())
    await clients.scan(alice, await export(client))
    await soon(hints.get())


async def test_a_fault_for_accepting_holds_for_the_phone(clients: TelethonClients) -> None:
    """Named, it makes a scan fail; `*` is for clients."""
    driver = clients.sandbox.driver
    alice, client = driver.create_account(), await clients.connect()
    shown = await export(client)
    driver.add_fault("*", error="INTERNAL", user_id=alice["id"])
    driver.add_fault("auth.acceptLoginToken", error="AUTH_TOKEN_EXCEPTION")
    with pytest.raises(SandboxRefusedError, match="AUTH_TOKEN_EXCEPTION"):
        await clients.scan(alice, shown)
    await clients.scan(alice, shown)
    assert [fault["method"] for fault in driver.faults()] == ["*"]


# -- the network


async def refuses(port: int) -> bool:
    """Tell whether nobody listens there."""
    try:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def test_a_refusing_network_lets_nobody_in(wires: Wires) -> None:
    """Open connections live on; afterwards the same ports answer."""
    wire, driver = await wires.start(), wires.sandbox.driver
    driver.network("refuse")
    assert all([await refuses(port) for port in wires.sandbox.dcs.values()])
    assert await wire.call(NEAREST)
    driver.network("ok")
    assert await wires.start()


async def test_a_network_can_accept_and_close(wires: Wires) -> None:
    """A new connection ends before a byte; an open one lives on."""
    wire, driver = await wires.start(), wires.sandbox.driver
    driver.network("accept_and_close")
    reader, writer = await asyncio.open_connection("127.0.0.1", wires.sandbox.dcs[2])
    assert await soon(reader.read()) == b""
    writer.close()
    assert await wire.call(NEAREST)


async def test_a_silent_network_delays_everything(wires: Wires) -> None:
    """Neither old nor new connections hear anything, until it ends: then it all arrives."""
    wire, driver = await wires.start(), wires.sandbox.driver
    calls = driver.stats()["calls"].get("help.getNearestDc", 0)
    driver.network("silent")
    waiting = asyncio.ensure_future(wire.call(NEAREST))
    newcomer = asyncio.ensure_future(wires.start())
    gone = await wires.another(wire)
    await gone.send(NEAREST)
    await gone.connection.disconnect()
    done, _ = await asyncio.wait([waiting, newcomer], timeout=0.3)
    assert not done
    driver.network("ok")
    assert await soon(waiting)
    assert await soon(newcomer)
    assert driver.stats()["calls"]["help.getNearestDc"] == calls + 1


async def test_a_cut_ends_every_connection(wires: Wires) -> None:
    """With a reset, and how many is told."""
    wire, driver = await wires.start(), wires.sandbox.driver
    assert driver.network(cut_all=True)["cut"] >= 1
    assert await wire.is_closed()
    assert driver.stats()["connections"] == 0


async def test_latency_delays_answers_and_keeps_their_order(wires: Wires) -> None:
    """Those that were sent while it was longer come first."""
    wire, driver = await wires.start(), wires.sandbox.driver

    def read_by_the_server() -> int:
        return int(driver.stats()["calls"].get("help.getNearestDc", 0))

    before = read_by_the_server()
    driver.network(latency_ms=200)
    began = time.monotonic()
    await wire.send(functions.help.GetNearestDcRequest())
    await asyncio.to_thread(wait_until, lambda: read_by_the_server() > before)
    await asyncio.to_thread(driver.network, latency_ms=0)
    await wire.send(functions.PingRequest(2))
    order = [(await wire.receive(lambda r: isinstance(r.body, RpcResult | types.Pong))).body for _ in range(2)]
    assert [type(body) for body in order] == [RpcResult, types.Pong]
    assert time.monotonic() - began >= 0.2


async def test_a_client_that_connects_to_a_silent_network_can_give_up(clients: TelethonClients) -> None:
    """Its connection is forgotten when the network comes back."""
    driver = clients.sandbox.driver
    driver.network("silent")
    sock = socket.create_connection(("127.0.0.1", clients.sandbox.dcs[2]))
    sock.close()
    driver.network("ok")
    assert driver.stats()["connections"] == 0
