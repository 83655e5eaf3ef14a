"""What a piece of work is for, on every log line and span of it: which request asked, which login it is about.

The fields live in structlog's context variables: coroutines, and the threads of ``LoopThread.in_thread``, take over those of
whoever started them. From one process to the next they travel in the headers of Celery's messages. None of them is secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

_CARRIED = ("request_id", "idempotency_key")
_HEADER = "latchkey_{}"


def begin(**fields: str) -> None:
    """Begin a piece of work: forget what the thread or greenlet did before."""
    structlog.contextvars.clear_contextvars()
    correlate(**fields)


def correlate(**fields: str) -> None:
    """Note what has become known; it is on every line from here on."""
    structlog.contextvars.bind_contextvars(**fields)


def correlation() -> dict[str, str]:
    """What is noted here."""
    return structlog.contextvars.get_contextvars()


def message_headers() -> dict[str, str]:
    """The headers that take to a task what it has in common with whoever sends it."""
    noted = correlation()
    return {_HEADER.format(name): noted[name] for name in _CARRIED if name in noted}


def read_message_headers(headers: Mapping[str, Any]) -> dict[str, str]:
    """What ``message_headers`` wrote, as ``begin`` takes it."""
    found = {name: headers.get(_HEADER.format(name)) for name in _CARRIED}
    return {name: value for name, value in found.items() if isinstance(value, str)}
