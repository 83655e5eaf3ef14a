"""Telethon's sender and transport without the tasks and queues in between: a worker holds thousands of them.

Telethon gives each connection four tasks that hand every message on through three queues, and sends what it has received an
acknowledgement of in a message of its own. Here a request is packed, together with the acknowledgements that are due,
encrypted and written by whoever asks, and one task reads. Requests are small: nobody waits for the socket to drain.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import struct
from collections.abc import Iterable
from typing import Any, ClassVar

from telethon.network import ConnectionTcpFull, MTProtoSender
from telethon.network.requeststate import RequestState
from telethon.tl import TLRequest
from telethon.tl.core import MessageContainer
from telethon.tl.types import MsgsAck

from app.telegram.bounds import BoundedReader

_CLOSE_SECONDS = 10.0


class DirectTcpFull(ConnectionTcpFull):  # type: ignore[misc]  # Telethon ships no types
    """Telethon's full transport, read and written without a task of its own, within bounds (``app.telegram.bounds``)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        del self._send_queue, self._recv_queue
        self._bounded: BoundedReader | None = None

    async def connect(self, timeout: float | None = None, ssl: Any = None) -> None:
        """Connect; whoever calls reads and writes."""
        await self._connect(timeout=timeout, ssl=ssl)
        self._bounded = BoundedReader(self._reader)
        self._connected = True

    async def disconnect(self) -> None:
        """Close the socket. May be repeated."""
        if not self._connected:
            return
        self._connected = False
        self._writer.close()
        with contextlib.suppress(OSError):  # a time that is over is one, too
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._writer.wait_closed()
        # What is closed refers to itself by these, and would be left to the garbage collector.
        self._codec: Any = None
        vars(self._writer.transport).pop("_read_ready_cb", None)

    def write(self, packet: bytes) -> None:
        """Send a packet without waiting.

        Raises:
            ConnectionError: the connection is known to be gone.
        """
        if not self._connected or self._writer.is_closing():
            raise ConnectionError("Not connected")
        self._writer.write(self._codec.encode_packet(packet))

    async def send(self, packet: bytes) -> None:
        """Send a packet, as a handshake does.

        Raises:
            as ``write``.
        """
        self.write(packet)
        await self._writer.drain()

    async def recv(self) -> bytes:
        """Receive a packet.

        Raises:
            ConnectionError, EOFError, BufferError: there will be none, or it is none.
        """
        if not self._connected:
            raise ConnectionError("Not connected")
        packet: bytes = await self._codec.read_packet(self._bounded)
        return packet


class DirectSender(MTProtoSender):  # type: ignore[misc]  # Telethon ships no types
    """Telethon's sender on a ``DirectTcpFull``: it sends at once, and leaves no request without an answer when it ends.

    It does not refer to itself, as Telethon's does, so that it is gone with the last reference to it.
    """

    _names_of_handlers: ClassVar[
        dict[int, str]
    ] = {}  # the same for all: Telethon keeps a table of bound methods in each

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self._names_of_handlers:
            self._names_of_handlers.update({number: each.__name__ for number, each in self._handlers.items()})
        del self._handlers

    @property
    def _send_queue(self) -> _Outbox:
        return _Outbox(self)

    @_send_queue.setter
    def _send_queue(self, queue: Any) -> None:
        """Telethon's own is not used."""

    async def _process_message(self, message: Any) -> None:
        self._pending_ack.add(message.msg_id)
        name = self._names_of_handlers.get(message.obj.CONSTRUCTOR_ID, "_handle_update")
        await getattr(self, name)(message)

    async def _send_loop(self) -> None:
        """There is none: see ``transmit``."""

    def transmit(self, states: list[Any]) -> None:
        """Send requests now, and the acknowledgements that are due with them. Without a connection they wait for its end."""
        if self._pending_ack:
            ack = RequestState(MsgsAck(list(self._pending_ack)))
            self._pending_ack.clear()
            self._last_acks.append(ack)
            states = [ack, *states]
        packet = self._state.encrypt_message_data(self._pack(states))
        self._pending_state |= {state.msg_id: state for state in states if isinstance(state.request, TLRequest)}
        try:
            self._connection.write(packet)
        except OSError as exc:
            self._start_reconnect(exc)

    def _pack(self, states: list[Any]) -> bytes:
        """The messages as they go into one packet: several in a container."""
        messages = io.BytesIO()
        for state in states:
            content_related = isinstance(state.request, TLRequest)
            state.msg_id = self._state.write_data_as_message(messages, state.data, content_related)
        if len(states) == 1:
            return messages.getvalue()
        head = struct.pack("<Ii", MessageContainer.CONSTRUCTOR_ID, len(states))
        container = io.BytesIO()
        number = self._state.write_data_as_message(container, head + messages.getvalue(), content_related=False)
        for state in states:
            state.container_id = number
        return container.getvalue()

    async def _disconnect(self, error: Exception | None = None) -> None:
        # Telethon cancels what waits for an answer, and whoever waits cannot tell that from being cancelled.
        self._user_connected = False
        lost = error or ConnectionError("disconnected")
        for state in self._pending_state.values():
            if not state.future.done():
                state.future.set_exception(lost)
        await super()._disconnect(error)


class _Outbox:
    """Stands where Telethon keeps a queue of what is to be sent."""

    def __init__(self, sender: DirectSender) -> None:
        self._sender = sender

    def append(self, state: Any) -> None:
        self._sender.transmit([state])

    def extend(self, states: Iterable[Any]) -> None:
        if several := list(states):
            self._sender.transmit(several)
