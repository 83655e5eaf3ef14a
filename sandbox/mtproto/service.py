"""Service messages: pings, acknowledgements, message states, salts, sessions. None of them is an API call.

Source: https://core.telegram.org/mtproto/service_messages
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sandbox import tl
from sandbox.mtproto.call import rpc_result
from sandbox.mtproto.envelope import Message
from sandbox.mtproto.session import Session

if TYPE_CHECKING:
    from sandbox.mtproto.connection import Connection

types = tl.types
_MAXIMUM_SALTS: Final = 64

Handler = Callable[["Connection", Session, Message, Any], None]


def run(handler: Handler, connection: "Connection", session: Session, message: Message) -> None:
    """Parse a service message and do what it asks; one that does not parse is ignored."""
    try:
        request = tl.read(message.body)
    except tl.MalformedTLError:
        return
    handler(connection, session, message, request)


def _ping(connection: "Connection", session: Session, message: Message, request: Any) -> None:
    del connection
    pong = types.Pong(msg_id=message.msg_id, ping_id=request.ping_id)
    session.send(bytes(pong), content_related=False, answer_to=message.msg_id)


def _ping_delay_disconnect(connection: "Connection", session: Session, message: Message, request: Any) -> None:
    connection.disconnect_after(request.disconnect_delay)
    _ping(connection, session, message, request)


def _acknowledge(connection: "Connection", session: Session, message: Message, request: Any) -> None:
    del connection, message
    session.acknowledge(request.msg_ids)


def _tell_states(connection: "Connection", session: Session, message: Message, request: Any) -> None:
    del connection
    states = bytes(session.state_of(msg_id) for msg_id in request.msg_ids)
    answer = types.MsgsStateInfo(req_msg_id=message.msg_id, info=states)
    session.send(bytes(answer), content_related=False, answer_to=message.msg_id)


def _send_again(connection: "Connection", session: Session, message: Message, request: Any) -> None:
    """Repeat the messages asked for; when one is gone, tell the states of all."""
    repeated = [session.repeat(msg_id) for msg_id in request.msg_ids]
    if not all(repeated):
        _tell_states(connection, session, message, request)


def _tell_salts(connection: "Connection", session: Session, message: Message, request: Any) -> None:
    del connection
    now, key = time.time(), session.auth_key
    first = int(now // key.salt_seconds)
    salts = [
        types.FutureSalt(
            valid_since=datetime.fromtimestamp(period * key.salt_seconds, UTC),
            valid_until=datetime.fromtimestamp((period + 2) * key.salt_seconds, UTC),
            salt=key.salt_of_period(period),
        )
        for period in range(first, first + max(1, min(request.num, _MAXIMUM_SALTS)))
    ]
    answer = types.FutureSalts(req_msg_id=message.msg_id, now=int(now), salts=salts)
    session.send(bytes(answer), content_related=False, answer_to=message.msg_id)


def _destroy_session(connection: "Connection", session: Session, message: Message, request: Any) -> None:
    del connection
    doomed = session.auth_key.sessions.get(request.session_id)
    if doomed is None or doomed is session:
        answer = types.DestroySessionNone(request.session_id)
    else:
        if doomed.connection is not None:
            doomed.connection.sessions.discard(doomed)
        del session.auth_key.sessions[request.session_id]
        answer = types.DestroySessionOk(request.session_id)
    session.send(bytes(answer), content_related=True, answer_to=message.msg_id)


def _drop_answer(connection: "Connection", session: Session, message: Message, request: Any) -> None:
    del connection
    dropped = session.drop_answer(request.req_msg_id)
    if dropped is not None:
        answer = types.RpcAnswerDropped(dropped.msg_id, dropped.seq_no, len(dropped.body))
    elif request.req_msg_id in session.running:
        answer = types.RpcAnswerDroppedRunning()
        session.when_finished(request.req_msg_id, lambda: _forget_answer(session, request.req_msg_id))
    else:
        answer = types.RpcAnswerUnknown()
    body = rpc_result(message.msg_id, bytes(answer))
    session.send(body, content_related=True, answer_to=message.msg_id)


def _forget_answer(session: Session, msg_id: int) -> None:
    session.drop_answer(msg_id)


def _destroy_auth_key(connection: "Connection", session: Session, message: Message, request: Any) -> None:
    del request
    session.send(bytes(types.DestroyAuthKeyOk()), content_related=True, answer_to=message.msg_id)
    connection.data_centre.keys.remove(session.auth_key)


def _ignore(connection: "Connection", session: Session, message: Message, request: Any) -> None:
    """Do nothing: the message informs, or speaks of the HTTP transport, which is not offered."""
    del connection, session, message, request


HANDLERS: Final[dict[int, Handler]] = {
    tl.functions.PingRequest.CONSTRUCTOR_ID: _ping,
    tl.functions.PingDelayDisconnectRequest.CONSTRUCTOR_ID: _ping_delay_disconnect,
    tl.functions.GetFutureSaltsRequest.CONSTRUCTOR_ID: _tell_salts,
    tl.functions.DestroySessionRequest.CONSTRUCTOR_ID: _destroy_session,
    tl.functions.RpcDropAnswerRequest.CONSTRUCTOR_ID: _drop_answer,
    tl.functions.DestroyAuthKeyRequest.CONSTRUCTOR_ID: _destroy_auth_key,
    types.MsgsAck.CONSTRUCTOR_ID: _acknowledge,
    types.MsgsStateReq.CONSTRUCTOR_ID: _tell_states,
    types.MsgResendReq.CONSTRUCTOR_ID: _send_again,
    types.MsgsStateInfo.CONSTRUCTOR_ID: _ignore,
    types.MsgsAllInfo.CONSTRUCTOR_ID: _ignore,
    types.MsgDetailedInfo.CONSTRUCTOR_ID: _ignore,
    types.MsgNewDetailedInfo.CONSTRUCTOR_ID: _ignore,
    types.HttpWait.CONSTRUCTOR_ID: _ignore,
}
"""By constructor; whatever is not in here is an API call."""
