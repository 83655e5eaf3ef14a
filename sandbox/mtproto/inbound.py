"""What happens to a client's envelope: checks in their order, containers and gzip undone, duplicates found.

Source: https://core.telegram.org/mtproto/security_guidelines and
https://core.telegram.org/mtproto/service_messages_about_messages
"""

import secrets
import struct
import time
from typing import TYPE_CHECKING, Final

from sandbox import tl
from sandbox.mtproto import service
from sandbox.mtproto.auth_keys import AuthKey
from sandbox.mtproto.call import GZIP_PACKED, Call, gunzip
from sandbox.mtproto.envelope import Envelope, Message
from sandbox.mtproto.session import CONTAINER, Session

if TYPE_CHECKING:
    from sandbox.mtproto.connection import Connection

_TOO_OLD_SECONDS: Final = 300
_TOO_NEW_SECONDS: Final = 30
_STALE_SESSION_SECONDS: Final = 300
_MAXIMUM_CONTAINER_MESSAGES: Final = 1020

# Codes of bad_msg_notification; the session has the others.
_MSG_ID_TOO_LOW: Final = 16
_MSG_ID_TOO_HIGH: Final = 17
_MSG_ID_NOT_DIVISIBLE: Final = 18
_CONTAINER_ID_SEEN: Final = 19
_EVEN_SEQ_NO_EXPECTED: Final = 34
_ODD_SEQ_NO_EXPECTED: Final = 35
_BAD_SERVER_SALT: Final = 48
_INVALID_CONTAINER: Final = 64


class _BadMessageError(Exception):
    """Raised when a message must be answered with bad_msg_notification."""

    def __init__(self, message: Message, code: int) -> None:
        super().__init__(f"message {message.msg_id} is bad: {code}")
        self.message = message
        self.code = code


def receive(connection: "Connection", auth_key: AuthKey, envelope: Envelope, arrived_at: float) -> None:
    """Take in one envelope: refuse it, or run each message in it and send all that there is to say about it.

    Args:
        connection: what it came over.
        auth_key: what it was encrypted with.
        envelope: its decrypted content.
        arrived_at: when its bytes arrived, on the loop's monotonic clock.
    """
    now = time.time()
    refusal = _refusal(auth_key, envelope, now)
    if refusal is not None:
        connection.send_notice(auth_key, envelope.session_id, refusal)
        return
    session = _session_for(connection, auth_key, envelope, now)
    try:
        messages = _flatten(session, envelope.message)
    except _BadMessageError as bad:
        _notify(session, bad)
    else:
        for message in messages:
            _take_in(connection, session, message, arrived_at)
    session.flush()


def _refusal(auth_key: AuthKey, envelope: Envelope, now: float) -> bytes | None:
    """Check what concerns the envelope as a whole: its time, then its salt."""
    message = envelope.message
    sent_at = message.msg_id / 2**32
    code = None
    if message.msg_id % 4:
        code = _MSG_ID_NOT_DIVISIBLE
    elif sent_at < now - _TOO_OLD_SECONDS:
        code = _MSG_ID_TOO_LOW
    elif sent_at > now + _TOO_NEW_SECONDS:
        code = _MSG_ID_TOO_HIGH
    if code is not None:
        return bytes(tl.types.BadMsgNotification(message.msg_id, message.seq_no, code))
    if auth_key.accepts_salt(envelope.salt, now):
        return None
    salt = auth_key.current_salt(now)
    return bytes(tl.types.BadServerSalt(message.msg_id, message.seq_no, _BAD_SERVER_SALT, salt))


def _session_for(connection: "Connection", auth_key: AuthKey, envelope: Envelope, now: float) -> Session:
    session = auth_key.sessions.get(envelope.session_id)
    if session is not None:
        session.attach(connection, now)
        return session
    auth_key.forget_stale_sessions(older_than=now - _STALE_SESSION_SECONDS)
    session = Session(session_id=envelope.session_id, auth_key=auth_key, message_ids=connection.data_centre.message_ids)
    auth_key.sessions[envelope.session_id] = session
    session.attach(connection, now)
    unique_id = int.from_bytes(secrets.token_bytes(8), "little", signed=True)
    first_id = _first_msg_id(envelope.message)
    notice = tl.types.NewSessionCreated(first_id, unique_id, auth_key.current_salt(now))
    session.send(bytes(notice), content_related=True)
    return session


def _first_msg_id(message: Message) -> int:
    if tl.constructor_of(message.body) == CONTAINER and len(message.body) >= 16:
        return int.from_bytes(message.body[8:16], "little", signed=True)
    return message.msg_id


def _flatten(session: Session, message: Message) -> list[Message]:
    """Return the messages of an envelope, taken out of their container and their gzip."""
    message = _unpack(message)
    if tl.constructor_of(message.body) != CONTAINER:
        return [message]
    if session.has_received(message.msg_id) or message.msg_id in session.containers:
        raise _BadMessageError(message, _CONTAINER_ID_SEEN)
    if message.seq_no & 1:
        raise _BadMessageError(message, _EVEN_SEQ_NO_EXPECTED)
    inner = _split(message)
    if any(m.msg_id >= message.msg_id or tl.constructor_of(m.body) == CONTAINER for m in inner):
        raise _BadMessageError(message, _INVALID_CONTAINER)
    session.containers.append(message.msg_id)
    return inner


def _split(container: Message) -> list[Message]:
    body, messages = container.body, []
    if len(body) < 8 or not 0 < (count := struct.unpack_from("<i", body, 4)[0]) <= _MAXIMUM_CONTAINER_MESSAGES:
        raise _BadMessageError(container, _INVALID_CONTAINER)
    position = 8
    for _ in range(count):
        if position + 16 > len(body):
            raise _BadMessageError(container, _INVALID_CONTAINER)
        msg_id, seq_no, length = struct.unpack_from("<qii", body, position)
        position += 16 + length
        if length < 4 or length % 4 or position > len(body):
            raise _BadMessageError(container, _INVALID_CONTAINER)
        messages.append(Message(msg_id, seq_no, body[position - length : position]))
    return [_unpack(message) for message in messages]


def _unpack(message: Message) -> Message:
    if tl.constructor_of(message.body) != GZIP_PACKED:
        return message
    try:
        return message._replace(body=gunzip(message.body))
    except ValueError as exc:
        raise _BadMessageError(message, _INVALID_CONTAINER) from exc


def _take_in(connection: "Connection", session: Session, message: Message, arrived_at: float) -> None:
    """Run one message, unless it came before: then its answer is sent again."""
    if session.has_received(message.msg_id):
        if not session.repeat(message.msg_id) and message.msg_id not in session.running:
            session.send(bytes(tl.types.MsgsAck([message.msg_id])), content_related=False)
        return
    run = service.HANDLERS.get(tl.constructor_of(message.body))
    code = _MSG_ID_NOT_DIVISIBLE if message.msg_id % 4 else _seq_no_fault(message, is_service=run is not None)
    code = code or session.fault_of(message)
    if code is not None:
        _notify(session, _BadMessageError(message, code))
        return
    session.remember(message)
    if run is None:
        connection.data_centre.executor.execute(Call(session, connection, message, arrived_at))
    else:
        service.run(run, connection, session, message)


def _seq_no_fault(message: Message, *, is_service: bool) -> int | None:
    """Check that a call, which needs an acknowledgement, says so.

    Service messages come both ways from good clients: pings everywhere, acknowledgements from mtcute.
    """
    return _ODD_SEQ_NO_EXPECTED if not is_service and not message.seq_no & 1 else None


def _notify(session: Session, bad: _BadMessageError) -> None:
    notice = tl.types.BadMsgNotification(bad.message.msg_id, bad.message.seq_no, bad.code)
    session.send(bytes(notice), content_related=False)
