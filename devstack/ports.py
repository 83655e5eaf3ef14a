"""Loopback ports: free ones by default, the same ones as last time if they still are, fixed ones where a setting asks.

The same as last time, because addresses outlive a stack: a stored Telegram session names its data centre's.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping

from devstack.errors import SetupError

HOST = "127.0.0.1"

# Below every system's range for outgoing connections (docs/decisions/0005).
_FIRST, _LAST = 20_000, 32_000
_TRIES = 200


class PortBook:
    """Gives out ports, each once.

    Args:
        remembered: what a former book gave out, by name.
    """

    def __init__(self, remembered: Mapping[str, int]) -> None:
        self._remembered = remembered
        self.given_out: dict[str, int] = {}

    def port(self, name: str) -> int:
        """Give out a free port under this name, the remembered one if it can be had."""
        port = self._remembered.get(name)
        if port is None or port in self.given_out.values() or not _can_listen(port):
            port = free_port(taken=set(self.given_out.values()))
        self.given_out[name] = port
        return port

    def fixed_port(self, name: str, *, setting: str, text: str) -> int:
        """Give out the port that a setting fixes, or any when its text is empty.

        Raises:
            SetupError: the text is no port, or somebody listens there already.
        """
        if not text:
            return self.port(name)
        if not text.isdigit() or not 0 < int(text) < 65_536:
            raise SetupError(f"{setting}={text} is no port: a number from 1 to 65535 is needed.")
        port = int(text)
        if port in self.given_out.values() or not _can_listen(port):
            raise SetupError(f"Port {port} is taken: choose another {setting}, or leave it unset for a free one.")
        self.given_out[name] = port
        return port


def free_port(*, taken: set[int] | None = None) -> int:
    """Return a loopback port that nobody listens on and that is not ``taken``."""
    for _ in range(_TRIES):
        port = random.randint(_FIRST, _LAST)  # noqa: S311  # not a secret: two stacks should rarely try the same
        if port not in (taken or ()) and _can_listen(port):
            return port
    raise SetupError(f"Found no free port between {_FIRST} and {_LAST} on {HOST}.")


def _can_listen(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no obstacle
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def accepts(port: int) -> bool:
    """Whether somebody accepts TCP connections on the port now."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0
