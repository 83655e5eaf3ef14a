"""Loopback ports: free ones by default, a fixed one where a setting asks for it."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping

from devstack.errors import SetupError

HOST = "127.0.0.1"

# Below every system's range for outgoing connections: a port from that range may be somebody's source port at the
# moment when a killed server wants it back.
_FIRST, _LAST = 20_000, 32_000
_TRIES = 200


def free_port(*, taken: set[int] | None = None) -> int:
    """Return a loopback port that nobody listens on, and add it to ``taken`` so that it is not given out twice."""
    given = taken if taken is not None else set()
    for _ in range(_TRIES):
        port = random.randint(_FIRST, _LAST)  # noqa: S311  # not a secret: two stacks should rarely try the same
        if port not in given and _can_listen(port):
            given.add(port)
            return port
    raise SetupError(f"Found no free port between {_FIRST} and {_LAST} on {HOST}.")


def port_for(setting: str, environment: Mapping[str, str], *, taken: set[int]) -> int:
    """Return the port that the setting fixes, or a free one when it is unset or empty.

    Raises:
        SetupError: the setting is no port, or somebody listens there already.
    """
    text = environment.get(setting, "").strip()
    if not text:
        return free_port(taken=taken)
    if not text.isdigit() or not 0 < int(text) < 65_536:
        raise SetupError(f"{setting}={text} is no port: a number from 1 to 65535 is needed.")
    port = int(text)
    if port in taken or not _can_listen(port):
        raise SetupError(f"Port {port} is taken: choose another {setting}, or leave it unset for a free one.")
    taken.add(port)
    return port


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
