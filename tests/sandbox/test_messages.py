"""Encrypted messages: salts, ids, sequence numbers, containers, gzip, errors, duplicates."""

from __future__ import annotations

import gzip
import struct
import time
import zlib
from collections.abc import Callable

import pytest
from telethon.tl import TLObject, functions, types
from telethon.tl.core import GzipPacked, MessageContainer, RpcResult

from sandbox.mtproto.call import gzip_packed
from tests.sandbox.wire import RpcFailure, Wire, Wires, gzipped, introduction

NEAREST = functions.help.GetNearestDcRequest()


async def bad_message_code(wire: Wire) -> int:
    """Return the code of the next bad_msg_notification."""
    return int((await wire.receive_a(types.BadMsgNotification)).body.error_code)


async def test_a_wrong_salt_is_answered_with_the_right_one(wires: Wires) -> None:
    """bad_server_salt carries code 48, names the message, and its salt is accepted."""
    wire = await wires.exchange_key()
    wire.salt = 12345
    msg_id = await wire.send(functions.PingRequest(7))
    refusal = (await wire.receive_a(types.BadServerSalt)).body
    assert (refusal.bad_msg_id, refusal.error_code) == (msg_id, 48)
    wire.salt = refusal.new_server_salt
    await wire.send(functions.PingRequest(8))
    assert (await wire.receive_a(types.Pong)).body.ping_id == 8


async def test_a_new_session_is_announced_once(wires: Wires) -> None:
    """new_session_created names the first message and the salt, and does not come again."""
    wire = await wires.exchange_key()
    await wire.learn_salt()
    msg_id = await wire.send(introduction(functions.help.GetConfigRequest()))
    created = await wire.receive_a(types.NewSessionCreated)
    assert (created.body.first_msg_id, created.body.server_salt) == (msg_id, wire.salt)
    assert created.seq_no % 2 == 1
    await wire.answer_to(msg_id)
    await wire.send(NEAREST)
    assert isinstance((await wire.receive()).body, RpcResult)


@pytest.mark.parametrize(("shift_seconds", "code"), [(-310, 16), (40, 17)])
async def test_a_message_from_another_time_is_refused(wires: Wires, shift_seconds: int, code: int) -> None:
    """A msg_id more than 300 s old or 30 s ahead is code 16 or 17."""
    wire = await wires.start()
    await wire.send(NEAREST, msg_id=wire.new_msg_id() + (shift_seconds << 32))
    assert await bad_message_code(wire) == code


async def test_a_client_with_a_wrong_clock_learns_the_time(wires: Wires) -> None:
    """The refusal's own msg_id is the server's time, which is how clients set theirs."""
    wire = await wires.start()
    await wire.send(NEAREST, msg_id=wire.new_msg_id() - (4000 << 32))
    refusal = await wire.receive_a(types.BadMsgNotification)
    assert abs((refusal.msg_id >> 32) - time.time()) < 5


@pytest.mark.parametrize("remainder", [1, 2, 3])
async def test_a_clients_message_id_is_divisible_by_four(wires: Wires, remainder: int) -> None:
    """Any other msg_id is code 18."""
    wire = await wires.start()
    await wire.send(NEAREST, msg_id=wire.new_msg_id() + remainder)
    assert await bad_message_code(wire) == 18


async def test_sequence_numbers_grow_with_message_ids(wires: Wires) -> None:
    """A later message with a smaller seq_no is code 32, an earlier one with a greater seq_no code 33."""
    wire = await wires.start()
    earlier = wire.new_msg_id()
    wire.content_sent = 50
    await wire.call(NEAREST)
    await wire.send(NEAREST, seq_no=51)
    assert await bad_message_code(wire) == 32
    await wire.send(NEAREST, msg_id=earlier, seq_no=501)
    assert await bad_message_code(wire) == 33


async def test_a_call_has_an_odd_sequence_number(wires: Wires) -> None:
    """An even one is code 35."""
    wire = await wires.start()
    await wire.send(NEAREST, seq_no=100)
    assert await bad_message_code(wire) == 35


async def test_an_acknowledgement_may_have_either_kind_of_sequence_number(wires: Wires) -> None:
    """By the rules it is even; mtcute counts its own among the content, and Telegram does not mind."""
    wire = await wires.start()
    await wire.send(types.MsgsAck([1]), content_related=False)
    await wire.send(types.MsgsAck([1]), content_related=True)
    assert (await wire.call(NEAREST)).this_dc == 2


async def test_messages_may_arrive_out_of_order(wires: Wires) -> None:
    """An earlier message that comes later is run, if its seq_no fits in."""
    wire = await wires.start()
    early = (wire.new_msg_id(), wire.next_seq_no(content_related=True))
    late = await wire.send(NEAREST)
    await wire.answer_to(late)
    await wire.send(NEAREST, msg_id=early[0], seq_no=early[1])
    assert (await wire.answer_to(early[0])).this_dc == 2


async def test_a_containers_messages_are_all_run(wires: Wires) -> None:
    """And their answers come back together."""
    wire = await wires.start()
    bodies = [functions.PingRequest(1), NEAREST, functions.help.GetConfigRequest()]
    messages = [(wire.new_msg_id(), wire.next_seq_no(content_related=True), bytes(body)) for body in bodies]
    await wire.send_container(*messages)
    assert (await wire.receive_a(types.Pong)).body.msg_id == messages[0][0]
    assert (await wire.answer_to(messages[1][0])).this_dc == 2
    assert (await wire.answer_to(messages[2][0])).this_dc == 2


async def test_a_broken_container_is_refused_as_a_whole(wires: Wires) -> None:
    """Cut short, nested, empty, or younger than what it holds: code 64, and nothing is run."""
    wire = await wires.start()
    ping = bytes(functions.PingRequest(1))
    header = struct.pack("<Ii", MessageContainer.CONSTRUCTOR_ID, 1)
    inner = struct.pack("<qii", wire.new_msg_id(), 1, len(ping)) + ping
    nested = struct.pack("<qii", wire.new_msg_id(), 0, len(header + inner)) + header + inner
    empty = struct.pack("<Ii", MessageContainer.CONSTRUCTOR_ID, 0)
    for body in (header + inner[:-4], header + nested, empty):
        await wire.send(body, content_related=False)
        assert await bad_message_code(wire) == 64
    older = wire.new_msg_id()
    await wire.send_container((wire.new_msg_id(), 1, ping), msg_id=older)
    assert await bad_message_code(wire) == 64


async def test_a_containers_id_is_new(wires: Wires) -> None:
    """A second container with the id of the first is code 19."""
    wire = await wires.start()
    first = (wire.new_msg_id(), wire.next_seq_no(content_related=True), bytes(functions.PingRequest(1)))
    second = (wire.new_msg_id(), wire.next_seq_no(content_related=True), bytes(functions.PingRequest(2)))
    container_id = await wire.send_container(first)
    await wire.receive_a(types.Pong)
    await wire.send_container(second, msg_id=container_id)
    assert await bad_message_code(wire) == 19


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
async def test_a_packed_request_is_unpacked(wires: Wires, compress: Callable[[bytes], bytes]) -> None:
    """gzip_packed around a call, alone and in a container, in gzip's wrapping or, as mtcute does it, in zlib's."""
    wire, packed = await wires.start(), gzipped(NEAREST, compress)
    assert (await wire.answer_to(await wire.send(packed))).this_dc == 2
    inner = (wire.new_msg_id(), wire.next_seq_no(content_related=True), packed)
    await wire.send_container(inner)
    assert (await wire.answer_to(inner[0])).this_dc == 2


async def test_a_request_may_be_packed_inside_its_wrappers(wires: Wires) -> None:
    """As TDLib does it; not without bounds."""
    wire = await wires.start()
    head = bytes(introduction(NEAREST)).removesuffix(bytes(NEAREST))
    assert (await wire.answer_to(await wire.send(head + gzipped(NEAREST)))).this_dc == 2
    bomb = gzip.compress(bytes(50_000_000))
    packed = struct.pack("<I", GzipPacked.CONSTRUCTOR_ID) + bytes(TLObject.serialize_bytes(bomb))
    with pytest.raises(RpcFailure, match="INPUT_FETCH_ERROR"):
        await wire.answer_to(await wire.send(head + packed))


async def test_a_long_answer_is_packed(wires: Wires) -> None:
    """A short one is not."""
    wire = await wires.log_in()
    for count, is_packed in ((1, False), (30, True)):
        await wire.send(functions.users.GetUsersRequest([types.InputUserSelf()] * count))
        assert (await wire.receive_a(RpcResult)).was_packed is is_packed


async def test_unknown_requests_are_errors_not_hangups(wires: Wires) -> None:
    """A constructor that the schema does not have, outside or inside, and a request that ends early."""
    wire = await wires.start()
    with pytest.raises(RpcFailure, match="INPUT_METHOD_INVALID_305419896_0"):
        await wire.answer_to(await wire.send(struct.pack("<II", 0x12345678, 0)))
    body = bytes(functions.InvokeWithoutUpdatesRequest(NEAREST))[:4] + struct.pack("<I", 0x12345678)
    with pytest.raises(RpcFailure, match="INPUT_CONSTRUCTOR_INVALID_305419896_0"):
        await wire.answer_to(await wire.send(body))
    with pytest.raises(RpcFailure, match="INPUT_FETCH_ERROR") as failure:
        await wire.answer_to(await wire.send(bytes(functions.auth.ExportLoginTokenRequest(1, "x", []))[:8]))
    assert failure.value.code == 400
    assert (await wire.call(NEAREST)).this_dc == 2


async def test_a_call_that_trips_the_sandbox_is_an_internal_error(wires: Wires) -> None:
    """A password check with something else for a password: 500, and the connection lives on."""
    wire = await wires.log_in(password="pw")
    await wire.call(functions.account.GetPasswordRequest())
    with pytest.raises(RpcFailure, match="INTERNAL") as failure:
        await wire.call(functions.auth.CheckPasswordRequest(types.InputPeerSelf()))
    assert failure.value.code == 500
    assert await wire.call(NEAREST)


async def test_a_damaged_pack_is_refused(wires: Wires) -> None:
    """gzip_packed with a wrong byte, cut short, or with more than any client sends: code 64."""
    wire = await wires.start()
    packed = gzipped(NEAREST)
    bomb = gzip_packed(bytes(8 * 1024 * 1024))
    for body in (packed[:5] + b"x" + packed[6:], packed[:4] + b"\4" + packed[5:9] + bytes(3), bomb):
        await wire.send(body)
        assert await bad_message_code(wire) == 64


async def test_calls_need_an_introduction(wires: Wires) -> None:
    """Before initConnection every call is CONNECTION_NOT_INITED; a new session of the same key needs none."""
    wire = await wires.exchange_key()
    await wire.learn_salt()
    with pytest.raises(RpcFailure, match="CONNECTION_NOT_INITED"):
        await wire.call(NEAREST)
    await wire.introduce()
    other = await wires.another(wire)
    await wire.connection.disconnect()
    assert (await other.call(NEAREST)).this_dc == 2


async def test_an_invalid_api_id_is_refused(wires: Wires) -> None:
    """initConnection with api_id 0 is API_ID_INVALID."""
    wire = await wires.exchange_key()
    await wire.learn_salt()
    with pytest.raises(RpcFailure, match="API_ID_INVALID"):
        await wire.call(introduction(NEAREST, api_id=0))


async def test_a_repeated_message_is_answered_from_memory(wires: Wires) -> None:
    """The same msg_id twice: the same answer with the same id, and the call runs once."""
    wire = await wires.start()
    request = functions.auth.ExportLoginTokenRequest(1, "x", [])
    before = wires.sandbox.driver.stats()["calls"].get("auth.exportLoginToken", 0)
    msg_id, seq_no = wire.new_msg_id(), wire.next_seq_no(content_related=True)
    answers = []
    for _ in range(2):
        await wire.send(request, msg_id=msg_id, seq_no=seq_no)
        answers.append(await wire.receive(lambda r: isinstance(r.body, RpcResult)))
    assert answers[0].msg_id == answers[1].msg_id
    assert answers[0].body.body == answers[1].body.body
    assert wires.sandbox.driver.stats()["calls"]["auth.exportLoginToken"] == before + 1
    await wire.send(types.MsgsAck([answers[0].msg_id]), content_related=False)
    await wire.send(request, msg_id=msg_id, seq_no=seq_no)
    assert (await wire.receive_a(types.MsgsAck)).body.msg_ids == [msg_id]


async def test_unacknowledged_answers_are_sent_again_on_the_next_connection(wires: Wires) -> None:
    """The session comes back on another connection: what it had not acknowledged comes again, what it had does not."""
    wire = await wires.start()
    ids = [await wire.send(NEAREST) for _ in range(2)]
    answers = [await wire.receive_a(RpcResult) for _ in ids]
    await wire.send(types.MsgsAck([answers[0].msg_id]), content_related=False)
    await wire.call(NEAREST)
    await wire.connection.disconnect()
    other = await wires.another(wire, same_session=True)
    await other.send(functions.PingRequest(1))
    repeated = await other.receive(lambda r: isinstance(r.body, RpcResult) and r.body.req_msg_id in ids)
    assert repeated.msg_id == answers[1].msg_id
    await other.receive_a(types.Pong)
    assert not [r for r in other._inbox if isinstance(r.body, RpcResult) and r.body.req_msg_id == ids[0]]


async def test_a_call_waits_for_the_one_it_is_to_follow(wires: Wires) -> None:
    """invokeAfterMsg: the second answer comes after the first, however slow that is."""
    wire = await wires.start()
    wires.sandbox.driver.add_fault("help.getNearestDc", delay_ms=150)
    slow = await wire.send(NEAREST)
    follower = await wire.send(functions.InvokeAfterMsgRequest(slow, functions.help.GetConfigRequest()))
    order = [(await wire.receive_a(RpcResult)).body.req_msg_id for _ in range(2)]
    assert order == [slow, follower]
