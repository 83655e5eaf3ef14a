"""What a look at a dependency found."""

from __future__ import annotations

import ipaddress
from typing import Literal, NamedTuple

LOOK_SECONDS = 5
"""How long a look waits for one answer."""


class Finding(NamedTuple):
    """What a look found. ``advice`` says what to do about a warning or a failure."""

    name: str
    state: Literal["ok", "warning", "failed"]
    found: str
    advice: str = ""


def reason(exc: BaseException) -> str:
    """The first line of what an exception says."""
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]


def is_this_machine(host: str | None) -> bool:
    """Whether nothing that is sent to a host leaves the machine. No host, or a path, is a socket file."""
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
