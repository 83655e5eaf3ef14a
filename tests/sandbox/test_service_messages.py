"""Service messages and transport errors: what is said about messages, sessions, salts and keys themselves."""

from __future__ import annotations

import asyncio
import struct

import pytest
from telethon.errors import InvalidBufferError
from telethon.tl import functions, types
from telethon.tl.core import RpcResult

from tests.sandbox.conftest import OwnWires
from tests.sandbox.wire import Wire, Wires

NEAREST = functions.help.GetNearestDcRequest()


async def transport_error(wire: Wire) -> int:
    """Return the transport error that comes next."""
    with pytest.raises(InvalidBufferError) as refusal:
        wire.state.decrypt_message_data(await asyncio.wait_for(wire.connection.recv(), 10))
    return int(refusal.value.code)


async def test_pings_are_answered(wires: Wires) -> None:
    """Pong names the ping and its message, and needs no acknowledgement."""
    wire = await wires.start()
    msg_id = await wire.send(functions.PingRequest(99))
    pong = await wire.receive_a(types.Pong)
    assert (pong.body.msg_id, pong.body.ping_id, pong.seq_no % 2) == (msg_id, 99, 0)


async def test_ping_delay_disconnect_hangs_up_unless_repeated(wires: Wires) -> None:
    """The last delay told counts, and the ping is answered first."""
    wire = await wires.start()
    await wire.send(functions.PingDelayDisconnectRequest(1, disconnect_delay=60))
    await wire.receive_a(types.Pong)
    await wire.send(functions.PingDelayDisconnectRequest(2, disconnect_delay=0))
    assert (await wire.receive_a(types.Pong)).body.ping_id == 2
    assert await wire.is_closed()


async def test_message_states_are_told(wires: Wires) -> None:
    """Received and answered, received, and never heard of."""
    wire = await wires.start()
    answered = await wire.send(NEAREST)
    await wire.answer_to(answered)
    acknowledgement = await wire.send(types.MsgsAck([1]), content_related=False)
    ahead = wire.new_msg_id() + (5 << 32)
    await wire.send(types.MsgsStateReq([answered, acknowledgement, ahead]), content_related=False)
    states = (await wire.receive_a(types.MsgsStateInfo)).body.info
    assert [ord(state) & 7 for state in states] == [4, 4, 3]
    assert ord(states[0]) & 64


async def test_messages_are_sent_again_when_asked_for(wires: Wires) -> None:
    """msg_resend_req repeats an answer; for one that is gone it tells the state."""
    wire = await wires.start()
    await wire.send(NEAREST)
    answer = await wire.receive_a(RpcResult)
    await wire.send(types.MsgResendReq([answer.msg_id]), content_related=False)
    assert (await wire.receive_a(RpcResult)).msg_id == answer.msg_id
    await wire.send(types.MsgsAck([answer.msg_id]), content_related=False)
    await wire.send(types.MsgResendReq([answer.msg_id]), content_related=False)
    assert await wire.receive_a(types.MsgsStateInfo)


async def test_future_salts_are_valid_when_their_time_comes(wires: Wires) -> None:
    """As many as asked for, in order, without gaps; the first is valid now."""
    wire = await wires.start()
    msg_id = await wire.send(functions.GetFutureSaltsRequest(3))
    told = (await wire.receive_a(types.FutureSalts)).body
    assert told.req_msg_id == msg_id
    assert told.salts[0].salt == wire.salt
    starts = [salt.valid_since.timestamp() for salt in told.salts]
    assert starts == [starts[0], starts[0] + 1800, starts[0] + 3600]
    assert starts[0] <= told.now < told.salts[0].valid_until.timestamp()


async def test_sessions_can_be_destroyed(wires: Wires) -> None:
    """Another session of the key, but not the one that asks, nor one that is not there."""
    wire = await wires.start()
    other = await wires.another(wire)
    await wire.connection.disconnect()
    await other.call(NEAREST)
    await other.send(functions.DestroySessionRequest(wire.session_id))
    assert (await other.receive_a(types.DestroySessionOk)).body.session_id == wire.session_id
    await other.send(functions.DestroySessionRequest(wire.session_id))
    await other.receive_a(types.DestroySessionNone)
    await other.send(functions.DestroySessionRequest(other.session_id))
    await other.receive_a(types.DestroySessionNone)


async def test_an_answer_can_be_dropped(wires: Wires) -> None:
    """Kept: dropped. Still running: dropped when it comes. Acknowledged or never asked: unknown."""
    wire = await wires.start()
    msg_id = await wire.send(NEAREST)
    answer = await wire.receive_a(RpcResult)
    assert isinstance(await wire.call(functions.RpcDropAnswerRequest(msg_id)), types.RpcAnswerDropped)
    assert isinstance(await wire.call(functions.RpcDropAnswerRequest(msg_id)), types.RpcAnswerUnknown)
    await wire.send(types.MsgResendReq([answer.msg_id]), content_related=False)
    await wire.receive_a(types.MsgsStateInfo)
    wires.sandbox.driver.add_fault("help.getNearestDc", delay_ms=100)
    slow = await wire.send(NEAREST)
    assert isinstance(await wire.call(functions.RpcDropAnswerRequest(slow)), types.RpcAnswerDroppedRunning)


async def test_a_destroyed_key_is_unknown(wires: Wires) -> None:
    """destroy_auth_key is confirmed; the next message with that key is transport error 404."""
    wire = await wires.start()
    await wire.send(functions.DestroyAuthKeyRequest())
    await wire.receive_a(types.DestroyAuthKeyOk)
    await wire.send(NEAREST)
    assert await transport_error(wire) == 404


async def test_an_unknown_key_is_transport_error_404(wires: Wires) -> None:
    """A key that no data centre made, and one that another data centre made."""
    wire = await wires.start(dc_id=1)
    stranger = Wire(await wires.open(dc_id=2), wire.auth_key)
    await stranger.send(NEAREST)
    assert await transport_error(stranger) == 404


async def test_a_damaged_message_is_refused(wires: Wires) -> None:
    """One wrong bit, and the msg_key does not match: the connection ends."""
    wire = await wires.start()
    sealed = bytearray(wire.seal(wire.new_msg_id(), 1, bytes(functions.PingRequest(1))))
    sealed[40] ^= 1
    await wire.connection.send(bytes(sealed))
    assert await transport_error(wire) == 404


async def test_messages_about_http_and_states_are_ignored(wires: Wires) -> None:
    """http_wait, and what informs about messages, needs no answer and harms nothing."""
    wire = await wires.start()
    for body in (types.HttpWait(0, 0, 0), types.MsgsStateInfo(1, "\1"), types.MsgsAllInfo([1], "\1")):
        await wire.send(body, content_related=False)
    await wire.send(struct.pack("<I", types.MsgsAck.CONSTRUCTOR_ID), content_related=False)
    assert (await wire.call(NEAREST)).this_dc == 2


async def test_salts_change_and_old_ones_expire(own_wires: OwnWires) -> None:
    """The salt told as the next one is valid in its time; the one before stays for one period more."""
    wires = own_wires(salt_seconds=1)
    wire = await wires.start()
    first = wire.salt
    async with asyncio.timeout(10):
        while True:
            await wire.send(functions.PingRequest(1))
            answer = await wire.receive()
            if isinstance(answer.body, types.BadServerSalt):
                break
    assert answer.body.new_server_salt != first
    wire.salt = answer.body.new_server_salt
    await wire.send(functions.PingRequest(2))
    await wire.receive(lambda r: isinstance(r.body, types.Pong) and r.body.ping_id == 2)
