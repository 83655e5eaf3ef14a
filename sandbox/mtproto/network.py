"""The weather of the network between clients and the sandbox: fine, refusing, hanging up, silent, slow."""

import select
import socket
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.mtproto.connection import Connection


class NetworkMode(StrEnum):
    """What a client meets when it connects."""

    OK = "ok"
    REFUSE = "refuse"
    """Nobody listens; open connections live on."""
    ACCEPT_AND_CLOSE = "accept_and_close"
    """New connections are closed at once; open ones live on."""
    SILENT = "silent"
    """A black hole.

    Nothing is read and nothing is sent, on old connections and new ones, until the mode ends.
    """


class Network:
    """All connections of the sandbox, and the weather they are in."""

    def __init__(self) -> None:
        self.mode = NetworkMode.OK
        self.latency_seconds = 0.0
        self.connections: set[Connection] = set()

    def change(self, mode: NetworkMode) -> None:
        """Change the weather for the open connections; opening and closing the ports is the server's."""
        before, self.mode = self.mode, mode
        for connection in list(self.connections):
            if mode is NetworkMode.SILENT:
                connection.hold()
            elif before is NetworkMode.SILENT:
                connection.resume()

    def cut_all(self) -> int:
        """Reset every open connection; return how many there were."""
        doomed = list(self.connections)
        for connection in doomed:
            connection.abort()
        return len(doomed)


def has_hung_up(fileno: int) -> bool:
    """Tell whether the other side of a socket is gone already, though nobody has read that far yet."""
    poll = select.poll()
    poll.register(fileno, select.POLLRDHUP)
    return bool(poll.poll(0))


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine only."""
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except socket.gaierror:
        return False
    return all(str(address).startswith("127.") or address == "::1" for address in addresses)
