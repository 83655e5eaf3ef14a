"""One TCP connection: bytes to frames, frames to the auth key exchange or to the sessions, answers back.

A plain asyncio.Protocol with slots and no task of its own, because thousands of them are open while people
look at a QR code.
"""

import asyncio
import logging
import struct
import time
from dataclasses import dataclass, field
from typing import Any, Final, cast

from sandbox import tl
from sandbox.mtproto import inbound
from sandbox.mtproto.arithmetic import ServerKey
from sandbox.mtproto.auth_keys import AuthKey, KeyRing
from sandbox.mtproto.call import ExchangeFault, Executor
from sandbox.mtproto.envelope import EnvelopeError, Message, open_envelope, seal_envelope
from sandbox.mtproto.handshake import STEPS, Exchange, ExchangeError
from sandbox.mtproto.network import Network, NetworkMode, has_hung_up
from sandbox.mtproto.outflow import Outflow
from sandbox.mtproto.session import MessageIds, Session
from sandbox.mtproto.transports import Frame, Link, TransportError

log = logging.getLogger(__name__)

_UNKNOWN_KEY: Final = 404


@dataclass(slots=True)
class DataCentre:
    """What the connections of one data centre share."""

    dc_id: int
    server_key: ServerKey
    keys: KeyRing
    network: Network
    executor: Executor
    message_ids: MessageIds = field(default_factory=MessageIds)


class Connection(asyncio.Protocol):
    """One client's connection to one data centre."""

    __slots__ = (
        "_disconnect_timer", "_exchange", "_link", "_outflow", "_transport", "auth_keys", "data_centre", "sessions",
        "superseded_keys",
    )  # fmt: skip

    def __init__(self, data_centre: DataCentre) -> None:
        self.data_centre = data_centre
        self.sessions: set[Session] = set()
        """The sessions that this connection serves."""
        self.auth_keys: set[AuthKey] = set()
        """The auth keys that were used on it: one, for any ordinary client."""
        self.superseded_keys: set[int] = set()
        """The ids of auth keys that a newer connection has taken over from this one."""
        self._link = Link()
        self._exchange: Exchange | None = None
        self._transport: asyncio.Transport | None = None
        self._disconnect_timer: asyncio.TimerHandle | None = None
        self._outflow: Outflow | None = None

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take part in the network, if its weather allows."""
        network = self.data_centre.network
        self._transport = cast("asyncio.Transport", transport)
        self._outflow = Outflow(network, self._transport)
        if network.mode is NetworkMode.ACCEPT_AND_CLOSE:
            self._transport.close()
            return
        network.connections.add(self)
        if network.mode is NetworkMode.SILENT:
            self.hold()

    def data_received(self, data: bytes) -> None:
        """Take each frame that is complete now; a client that breaks the framing is cut off."""
        arrived_at = time.monotonic()
        try:
            for frame in self._link.receive(data):
                self._take(frame, arrived_at)
                if self._transport is None or self._transport.is_closing():
                    return
        except TransportError as exc:
            log.info("connection cut off: %s", exc)
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave every place where this connection is known."""
        del exc
        self._forget()

    # -- frames in

    def _take(self, frame: Frame, arrived_at: float) -> None:
        payload = frame.payload
        if len(payload) < 20:
            self.refuse(_UNKNOWN_KEY)
        elif (key_id := int.from_bytes(payload[:8], "little")) == 0:
            self._take_plain(payload)
        else:
            self._take_encrypted(key_id, frame, arrived_at)

    def _take_plain(self, payload: bytes) -> None:
        """Take one step of the auth key exchange, or let it meet its fault."""
        try:
            length = int.from_bytes(payload[16:20], "little")
            request = tl.read(payload[20 : 20 + length])
        except tl.MalformedTLError:
            self.refuse(_UNKNOWN_KEY)
            return
        fault = self.data_centre.executor.exchange_fault(STEPS.get(type(request), ""))
        if fault.drop_connection:
            self.abort()
        elif fault.delay_seconds:
            asyncio.get_running_loop().call_later(fault.delay_seconds, self._answer, request, fault)
        else:
            self._answer(request, fault)

    def _answer(self, request: Any, fault: ExchangeFault) -> None:
        centre = self.data_centre
        if self._exchange is None:
            self._exchange = Exchange(server_key=centre.server_key, keys=centre.keys, dc_id=centre.dc_id)
        try:
            answer = self._exchange.answer(request, failure=fault.failure)
        except ExchangeError as exc:
            log.info("auth key exchange refused: %s", exc)
            self.refuse(exc.transport_code)
            return
        if answer is not None and not fault.silent:
            body = bytes(answer)
            header = struct.pack("<qqi", 0, centre.message_ids.next(is_answer=True), len(body))
            self._write(self._link.encode(header + body))

    def _take_encrypted(self, key_id: int, frame: Frame, arrived_at: float) -> None:
        auth_key = self.data_centre.keys.find(key_id, dc_id=self.data_centre.dc_id)
        if auth_key is None:
            self.refuse(_UNKNOWN_KEY)
            return
        try:
            envelope = open_envelope(auth_key.key, frame.payload)
        except EnvelopeError as exc:
            log.info("envelope refused: %s", exc)
            self.refuse(_UNKNOWN_KEY)
            return
        self.auth_keys.add(auth_key)
        auth_key.connections.add(self)
        if frame.wants_quick_ack:
            self._write(self._link.encode_quick_ack(envelope.quick_ack_token))
        inbound.receive(self, auth_key, envelope, arrived_at)

    # -- messages out

    def send_message(self, session: Session, message: Message) -> None:
        """Encrypt one message of a session and send it."""
        key = session.auth_key
        salt = key.current_salt(time.time())
        self._write(self._link.encode(seal_envelope(key.key, key.key_id, salt, session.session_id, message)))

    def send_notice(self, auth_key: AuthKey, session_id: int, body: bytes) -> None:
        """Send what is said about an envelope that did not even reach its session."""
        message = Message(self.data_centre.message_ids.next(is_answer=False), 0, body)
        salt = auth_key.current_salt(time.time())
        self._write(self._link.encode(seal_envelope(auth_key.key, auth_key.key_id, salt, session_id, message)))

    def refuse(self, transport_code: int) -> None:
        """Send a transport error and hang up.

        Source: https://core.telegram.org/mtproto/mtproto-transports#transport-errors
        """
        self._write(self._link.encode(struct.pack("<i", -transport_code)))
        if self._transport is not None:
            self._transport.close()

    def disconnect_after(self, seconds: float) -> None:
        """Hang up in so many seconds, unless told again before."""
        if self._disconnect_timer is not None:
            self._disconnect_timer.cancel()
        self._disconnect_timer = asyncio.get_running_loop().call_later(max(0, seconds), self.abort)

    # -- the weather

    def hold(self) -> None:
        """Stop reading; what is sent meanwhile waits."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Send what was held back and read on. A client that hung up meanwhile must not be heard any more."""
        if self.has_hung_up():
            self.abort()
        elif self._transport is not None and self._outflow is not None:
            self._outflow.release()
            self._transport.resume_reading()

    def has_hung_up(self) -> bool:
        """Tell whether the client has closed its side, be it read or not."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return True
        return has_hung_up(transport.get_extra_info("socket").fileno())

    def abort(self) -> None:
        """Reset the connection now. Nothing is heard from it or sent on it afterwards."""
        if self._transport is not None:
            self._transport.abort()
        self._forget()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and self._outflow is not None:
            self._outflow.write(data)

    def _forget(self) -> None:
        self._transport = self._outflow = self._exchange = None
        self.data_centre.network.connections.discard(self)
        if self._disconnect_timer is not None:
            self._disconnect_timer.cancel()
            self._disconnect_timer = None
        now = time.time()
        for session in self.sessions:
            if session.connection is self:
                session.detach(now)
        for auth_key in self.auth_keys:
            auth_key.connections.discard(self)
        self.sessions.clear()
        self.auth_keys.clear()
