"""A webhook's receiver on loopback, which answers as a test wants."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Receiver:
    """Keeps what it got; ``answer`` is sent as it is, and ``drip`` adds a byte each 100 ms after it, for ever."""

    port: int = 0
    answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n"
    drip: bool = False
    got: list[tuple[dict[str, str], str]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"

    def serve(self, listener: socket.socket) -> None:
        """Take connections until the listener closes."""
        while not self.stopped.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            stream.readline()
            headers: dict[str, str] = {}
            while (line := stream.readline().strip()) != b"":
                name, _, value = line.decode().partition(": ")
                headers[name.lower()] = value
            self.got.append((headers, stream.read(int(headers["content-length"])).decode()))
            try:
                connection.sendall(self.answer)
                while self.drip and not self.stopped.wait(0.1):
                    connection.sendall(b"x")
            except OSError:
                return


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver for a block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        receiver = Receiver(port=listener.getsockname()[1])
        serving = threading.Thread(target=receiver.serve, args=(listener,), daemon=True)
        serving.start()
        yield receiver
        receiver.stopped.set()
        # Wakes the thread: one that is just about to accept would take a call from the next receiver, at the same descriptor.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        serving.join(5)
