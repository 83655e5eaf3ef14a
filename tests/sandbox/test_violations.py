"""The three counters: each counts what it is for, and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from telethon import errors
from telethon.tl import functions, types
from telethon.tl.core import RpcResult

from sandbox.telegram.violations import PACE_SECONDS
from tests.sandbox.clients import API_HASH, API_ID, TelethonClients, export, own_id
from tests.sandbox.conftest import OwnClients, OwnWires
from tests.sandbox.wire import EXPORT, RpcFailure, Wires

NEAREST = functions.help.GetNearestDcRequest()
_PAUSE_SECONDS = PACE_SECONDS + 0.05


def counted(clients: TelethonClients | Wires, name: str) -> int:
    """Return one counter."""
    return int(clients.sandbox.driver.stats()["violations"][name])


async def test_a_call_before_its_flood_wait_is_over_is_counted(wires: Wires) -> None:
    """And refused again, with what is left; other methods and other keys are free."""
    before = counted(wires, "flood_wait")
    wire, other = await wires.start(), await wires.start()
    wires.sandbox.driver.add_fault("auth.exportLoginToken", error="FLOOD_WAIT_60", auth_key_id=wire.auth_key.key_id)
    with pytest.raises(RpcFailure, match="FLOOD_WAIT_60") as failure:
        await wire.call(EXPORT)
    assert failure.value.code == 420
    await wire.call(NEAREST)
    await other.call(EXPORT)
    assert counted(wires, "flood_wait") == before
    with pytest.raises(RpcFailure, match=r"FLOOD_WAIT_(60|59)"):
        await wire.call(EXPORT)
    assert counted(wires, "flood_wait") == before + 1


async def test_a_flood_wait_binds_the_user_on_every_key(clients: TelethonClients) -> None:
    """Once logged in, the account waits, not only the key that was told."""
    before = counted(clients, "flood_wait")
    alice = clients.sandbox.driver.create_account()
    one, other = await clients.log_in(alice), await clients.log_in(alice)
    clients.sandbox.driver.add_fault("users.getUsers", error="FLOOD_WAIT_60", user_id=alice["id"])
    for client in (one, other):
        with pytest.raises(errors.FloodWaitError):
            await own_id(client)
    assert counted(clients, "flood_wait") == before + 1


def send_to(phone: str) -> functions.auth.SendCodeRequest:
    """Ask for a code to this phone number."""
    return functions.auth.SendCodeRequest(phone, API_ID, API_HASH, types.CodeSettings())


async def test_a_flood_wait_for_codes_is_the_phone_numbers(wires: Wires) -> None:
    """Whoever asks has to wait, however the number is written; the same key may ask about another number."""
    before = counted(wires, "flood_wait")
    wire, other, driver = await wires.start(), await wires.start(), wires.sandbox.driver
    phone, free = (driver.create_account(dc_id=2)["phone"] for _ in range(2))
    driver.add_fault("auth.sendCode", error="FLOOD_WAIT_60")
    with pytest.raises(RpcFailure, match="FLOOD_WAIT_60"):
        await wire.call(send_to(phone))
    assert await wire.call(send_to(free))
    assert counted(wires, "flood_wait") == before
    with pytest.raises(RpcFailure, match=r"FLOOD_WAIT_(60|59)"):
        await other.call(send_to(f"+{phone[:3]} {phone[3:]}"))
    assert counted(wires, "flood_wait") == before + 1


async def test_a_flood_wait_for_passwords_is_the_accounts_before_it_is_logged_in(clients: TelethonClients) -> None:
    """A key that waits for the account's password has its waits, too; a key that waits for another's has not."""
    driver = clients.sandbox.driver
    before = counted(clients, "flood_wait")
    carol, dave = (driver.create_account(password="secret") for _ in range(2))
    pending = [await waiting_for_password(clients, account) for account in (carol, carol, dave)]
    driver.add_fault("account.getPassword", error="FLOOD_WAIT_60", user_id=carol["id"])
    ask = functions.account.GetPasswordRequest()
    await pending[2](ask)
    with pytest.raises(errors.FloodWaitError):
        await pending[0](ask)
    await pending[2](ask)
    assert counted(clients, "flood_wait") == before
    with pytest.raises(errors.FloodWaitError):
        await pending[1](ask)
    assert counted(clients, "flood_wait") == before + 1


async def waiting_for_password(clients: TelethonClients, account: dict[str, Any]) -> Any:
    """A client whose login token the account has accepted, and that lacks the password."""
    client = await clients.connect(dc_id=account["dc_id"])
    await clients.scan(account, await export(client))
    with pytest.raises(errors.SessionPasswordNeededError):
        await export(client)
    return client


async def test_a_flood_wait_for_login_tokens_is_the_keys(clients: TelethonClients) -> None:
    """Two logins of one account have nothing to do with each other while they wait for its password."""
    driver = clients.sandbox.driver
    before = counted(clients, "flood_wait")
    carol = driver.create_account(password="secret")
    one, other = [await waiting_for_password(clients, carol) for _ in range(2)]
    driver.add_fault("auth.exportLoginToken", error="FLOOD_WAIT_60", times=1)
    with pytest.raises(errors.FloodWaitError):
        await export(one)
    with pytest.raises(errors.SessionPasswordNeededError):
        await export(other)
    assert counted(clients, "flood_wait") == before


async def test_a_call_after_its_flood_wait_is_not_counted(wires: Wires) -> None:
    """Once the seconds are over; or when the faults were cleared, which lifts what they began."""
    before, wire, driver = counted(wires, "flood_wait"), await wires.start(), wires.sandbox.driver
    driver.add_fault("auth.exportLoginToken", error="FLOOD_WAIT_1")
    with pytest.raises(RpcFailure, match="FLOOD_WAIT_1"):
        await wire.call(EXPORT)
    await asyncio.sleep(1)  # the wait is what this is about
    await wire.call(EXPORT)
    driver.add_fault("help.getNearestDc", error="FLOOD_WAIT_900")
    with pytest.raises(RpcFailure, match="FLOOD_WAIT_900"):
        await wire.call(NEAREST)
    driver.clear_faults()
    await wire.call(NEAREST)
    assert counted(wires, "flood_wait") == before


async def test_calls_without_a_pause_are_counted(wires: Wires) -> None:
    """Two calls of one key within 200 ms; a connection's set-up and service messages do not count."""
    wire, other = await wires.start(), await wires.start()
    before = counted(wires, "unpaced")
    await wire.call(NEAREST)
    await wire.introduce()
    await wire.call(functions.help.GetConfigRequest())
    await wire.send(functions.PingRequest(1))
    await other.call(NEAREST)
    assert counted(wires, "unpaced") == before
    await asyncio.sleep(_PAUSE_SECONDS)  # the pause is what this is about
    pair = [(wire.new_msg_id(), wire.next_seq_no(content_related=True), bytes(NEAREST)) for _ in range(2)]
    await wire.send_container(*pair)
    await wire.answer_to(pair[1][0])
    assert counted(wires, "unpaced") == before + 1


async def test_calls_with_a_pause_are_not_counted(wires: Wires) -> None:
    """Also when the network holds them back and delivers them together."""
    wire = await wires.start()
    before = counted(wires, "unpaced")
    for _ in range(3):
        await wire.call(NEAREST)
        await asyncio.sleep(_PAUSE_SECONDS)  # the pause is what this is about
    wires.sandbox.driver.network("silent")
    sent = []
    for _ in range(2):
        sent.append(await wire.send(NEAREST))
        await asyncio.sleep(_PAUSE_SECONDS)
    wires.sandbox.driver.network("ok")
    for msg_id in sent:
        await wire.answer_to(msg_id)
    assert counted(wires, "unpaced") == before


async def test_a_repeated_message_is_no_second_call(wires: Wires) -> None:
    """It is answered from memory: no pacing, no flood wait."""
    wire = await wires.start()
    before = counted(wires, "unpaced")
    msg_id, seq_no = wire.new_msg_id(), wire.next_seq_no(content_related=True)
    for _ in range(2):
        await wire.send(NEAREST, msg_id=msg_id, seq_no=seq_no)
        await wire.receive_a(RpcResult)
    assert counted(wires, "unpaced") == before


async def test_one_key_on_two_connections_is_dead(wires: Wires) -> None:
    """AUTH_KEY_DUPLICATED (406) for the second, counted once, and from then on for both, for ever."""
    before = counted(wires, "parallel_auth_key")
    wire = await wires.log_in()
    other = await wires.another(wire)
    for caller in (other, wire, other):
        with pytest.raises(RpcFailure, match="AUTH_KEY_DUPLICATED") as failure:
            await caller.call(EXPORT)
        assert failure.value.code == 406
    assert counted(wires, "parallel_auth_key") == before + 1
    assert all(a["auth_key_id"] != f"{wire.auth_key.key_id:016x}" for a in await authorizations(wires))


async def authorizations(wires: Wires) -> list[dict[str, str]]:
    """Return all logins of all accounts."""
    driver = wires.sandbox.driver
    return [found for account in driver.accounts() for found in driver.authorizations(account["id"])]


async def test_a_connection_after_the_last_one_closed_is_no_parallel_use(wires: Wires) -> None:
    """However soon; and open connections that make no calls harm nobody."""
    before = counted(wires, "parallel_auth_key")
    wire = await wires.start()
    for _ in range(5):
        idle = await wires.another(wire)
        await idle.send(functions.PingRequest(1))
        await wire.call(NEAREST)
        await wire.connection.disconnect()
        await idle.connection.disconnect()
        wire = await wires.another(wire)
        await wire.call(NEAREST)
    assert counted(wires, "parallel_auth_key") == before


async def test_stock_clients_with_one_session_kill_it(clients: TelethonClients) -> None:
    """Two Telethon clients that were given the same session string."""
    before = counted(clients, "parallel_auth_key")
    alice = clients.sandbox.driver.create_account()
    client = await clients.log_in(alice)
    session = client.session.save()
    with pytest.raises(errors.AuthKeyDuplicatedError):
        await own_id(await clients.connect(session))
    with pytest.raises(errors.AuthKeyDuplicatedError):
        await own_id(client)
    assert counted(clients, "parallel_auth_key") == before + 1


async def test_a_duplicated_key_stays_dead_over_a_restart(own_clients: OwnClients, tmp_path: Path) -> None:
    """Nobody revives it."""
    state = tmp_path / "state"
    clients = own_clients(state_file=state)
    client = await clients.connect()
    await export(client)
    session = client.session.save()
    with pytest.raises(errors.AuthKeyDuplicatedError):
        await clients.connect(session)
    clients.sandbox.stop()
    with pytest.raises(errors.AuthKeyDuplicatedError):
        await own_clients(state_file=state).connect(session)


async def test_a_silent_connection_may_be_replaced_but_not_speak_again(own_wires: OwnWires) -> None:
    """Silent for long enough (here 0 s), it loses the key without blame; its next call is parallel use."""
    wires = own_wires(takeover_seconds=0)
    wire = await wires.start()
    newer = await wires.another(wire)
    await newer.call(NEAREST)
    await newer.call(NEAREST)
    assert counted(wires, "parallel_auth_key") == 0
    with pytest.raises(RpcFailure, match="AUTH_KEY_DUPLICATED"):
        await wire.call(NEAREST)
    assert counted(wires, "parallel_auth_key") == 1
