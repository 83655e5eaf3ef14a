"""One MTProto session: message ids, sequence numbers, what was received, what is not acknowledged yet.

A session belongs to an auth key and outlives connections: what was not acknowledged is sent again on the next
one.
Source: https://core.telegram.org/mtproto/description and
    https://core.telegram.org/mtproto/service_messages_about_messages
"""

import struct
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sandbox.mtproto.envelope import Message

if TYPE_CHECKING:
    from sandbox.mtproto.auth_keys import AuthKey
    from sandbox.mtproto.connection import Connection

CONTAINER: Final = 0x73F1F8DC
_REMEMBERED_MESSAGES: Final = 256
_REMEMBERED_CONTAINERS: Final = 16
_CONTAINER_MESSAGES: Final = 100

# Codes of bad_msg_notification.
# Source: https://core.telegram.org/mtproto/service_messages_about_messages#notice-of-ignored-error-message
TOO_OLD_TO_VERIFY: Final = 20
SEQ_NO_TOO_LOW: Final = 32
SEQ_NO_TOO_HIGH: Final = 33


class MessageIds:
    """Gives the server's messages their ids: its clock times 2^32, strictly increasing, odd."""

    __slots__ = ("_clock", "_last")

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._last = 0

    def next(self, *, is_answer: bool) -> int:
        """Return a new id; its last two bits tell an answer (01) from anything else (11)."""
        self._last = max(int(self._clock() * 2**32) & ~3, self._last + 4)
        return self._last | (1 if is_answer else 3)


class Session:
    """One session of one auth key; messages leave it in the order in which they were queued."""

    __slots__ = (
        "_answers", "_content_sent", "_forgotten_up_to", "_highest_msg_id", "_highest_seq_no", "_message_ids",
        "_outbox", "_received", "_unacknowledged", "_waiting", "auth_key", "connection", "containers", "last_seen",
        "running", "session_id", "wants_updates",
    )  # fmt: skip

    def __init__(self, *, session_id: int, auth_key: "AuthKey", message_ids: MessageIds) -> None:
        self.session_id = session_id
        self.auth_key = auth_key
        self.connection: Connection | None = None
        self.last_seen = 0.0
        self.wants_updates = False
        """Set by the first call that is not wrapped in invokeWithoutUpdates."""
        self.running: set[int] = set()
        """The calls that are not answered yet, by msg_id."""
        self.containers: deque[int] = deque(maxlen=_REMEMBERED_CONTAINERS)
        """The ids of the last containers; they have no place among the sequence numbers of what they hold."""
        self._message_ids = message_ids
        self._content_sent = 0
        self._received: dict[int, int] = {}
        self._highest_msg_id = 0
        self._highest_seq_no = -1
        self._forgotten_up_to = 0
        self._unacknowledged: dict[int, tuple[Message, int | None]] = {}
        self._answers: dict[int, int] = {}
        self._outbox: list[Message] = []
        self._waiting: dict[int, list[Callable[[], None]]] = {}

    # -- what comes in

    def attach(self, connection: "Connection", now: float) -> None:
        """Serve this session on that connection from now on.

        What the last one may have lost is queued again.
        """
        self.last_seen = now
        if self.connection is connection:
            return
        self.connection = connection
        connection.sessions.add(self)
        self._outbox = [message for message, _ in self._unacknowledged.values()]

    def detach(self, now: float) -> None:
        """Note that the connection is gone."""
        self.connection = None
        self.last_seen = now

    def has_received(self, msg_id: int) -> bool:
        """Tell whether a message with this id came before."""
        return msg_id in self._received

    def fault_of(self, message: Message) -> int | None:
        """Return the bad_msg_notification code that a new message deserves for its place among the others."""
        if message.msg_id <= self._forgotten_up_to:
            return TOO_OLD_TO_VERIFY
        is_content = message.seq_no & 1
        if message.msg_id > self._highest_msg_id:
            return SEQ_NO_TOO_LOW if message.seq_no < self._highest_seq_no + is_content else None
        for msg_id, seq_no in self._received.items():
            if msg_id < message.msg_id and seq_no >= message.seq_no + 1 - is_content:
                return SEQ_NO_TOO_LOW
            if msg_id > message.msg_id and seq_no <= message.seq_no - 1 + is_content:
                return SEQ_NO_TOO_HIGH
        return None

    def remember(self, message: Message) -> None:
        """Note a message as received, so that it is not run twice."""
        self._received[message.msg_id] = message.seq_no
        self._highest_msg_id = max(self._highest_msg_id, message.msg_id)
        self._highest_seq_no = max(self._highest_seq_no, message.seq_no)
        if len(self._received) > _REMEMBERED_MESSAGES:
            oldest = min(self._received)
            del self._received[oldest]
            self._forgotten_up_to = max(self._forgotten_up_to, oldest)

    def state_of(self, msg_id: int) -> int:
        """Return the status byte that msgs_state_info has for a message of the client."""
        if msg_id in self._answers:
            return 4 | 64
        if msg_id in self._received:
            return 4 | 32 if msg_id in self.running else 4
        if msg_id <= self._forgotten_up_to:
            return 1
        return 3 if msg_id > self._highest_msg_id else 2

    def acknowledge(self, msg_ids: list[int]) -> None:
        """Forget messages that the client says it has."""
        for msg_id in msg_ids:
            _, request_id = self._unacknowledged.pop(msg_id, (None, None))
            if request_id is not None:
                self._answers.pop(request_id, None)

    # -- what goes out

    def send(self, body: bytes, *, content_related: bool, answer_to: int | None = None, now: bool = False) -> None:
        """Queue a message; `now` sends it at once, else it leaves with the next `flush`.

        Args:
            body: the serialized object.
            content_related: whether the client must acknowledge it; such a message is kept until it does.
            answer_to: the msg_id of the call that this answers.
            now: for what is not part of answering a frame.
        """
        seq_no = self._content_sent * 2 + (1 if content_related else 0)
        message = Message(self._message_ids.next(is_answer=answer_to is not None), seq_no, body)
        if content_related:
            self._content_sent += 1
            self._keep(message, answer_to)
        if self.connection is not None:
            self._outbox.append(message)
            if now:
                self.flush()

    def _keep(self, message: Message, answer_to: int | None) -> None:
        self._unacknowledged[message.msg_id] = (message, answer_to)
        if answer_to is not None:
            self._answers[answer_to] = message.msg_id
        if len(self._unacknowledged) > _REMEMBERED_MESSAGES:
            self.acknowledge([next(iter(self._unacknowledged))])

    def repeat(self, msg_id: int) -> bool:
        """Queue a message of ours again, named by its id or by its call's; False if it is gone."""
        kept = self._unacknowledged.get(self._answers.get(msg_id, msg_id))
        if kept is None:
            return False
        if kept[0] not in self._outbox:
            self._outbox.append(kept[0])
        return True

    def drop_answer(self, msg_id: int) -> Message | None:
        """Forget the kept answer to a call; return it, or None when there is none."""
        answer_id = self._answers.pop(msg_id, None)
        if answer_id is None:
            return None
        message, _ = self._unacknowledged.pop(answer_id)
        self._outbox = [queued for queued in self._outbox if queued is not message]
        return message

    def flush(self) -> None:
        """Send what is queued, several messages in a container."""
        while self._outbox and self.connection is not None:
            batch, self._outbox = self._outbox[:_CONTAINER_MESSAGES], self._outbox[_CONTAINER_MESSAGES:]
            message = batch[0] if len(batch) == 1 else self._pack(batch)
            self.connection.send_message(self, message)

    def _pack(self, batch: list[Message]) -> Message:
        packed = [struct.pack("<qii", m.msg_id, m.seq_no, len(m.body)) + m.body for m in batch]
        body = struct.pack("<Ii", CONTAINER, len(batch)) + b"".join(packed)
        return Message(self._message_ids.next(is_answer=False), self._content_sent * 2, body)

    # -- calls that wait for others

    def when_finished(self, msg_id: int, then: Callable[[], None]) -> None:
        """Run `then` once the call with this id is answered; at once when it is not running."""
        if msg_id in self.running:
            self._waiting.setdefault(msg_id, []).append(then)
        else:
            then()

    def finish(self, msg_id: int) -> None:
        """Note that a call is over and run what waited for it."""
        self.running.discard(msg_id)
        for then in self._waiting.pop(msg_id, ()):
            then()
