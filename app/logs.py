"""Structured logs: one event with its fields per line, JSON or for the eye, from our code and the libraries'.

Our own lines do not go through the standard library, which would spend more on a line than all the rest: they are written as
soon as they are rendered. The libraries' lines, which are few, come from there.

A last processor takes out what must never be logged, should somebody log it all the same: login URLs, API keys,
client secrets, string sessions. It is a net, not a licence.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

_SECRET_SHAPES = re.compile(
    r"tg://login\?token=[\w-]+"
    r"|\blk_[\w-]{20,}"
    r"|\bls_[\w-]{20,}"
    r"|\bwhsec_[\w+/=-]{16,}"
    r"|(?<![A-Za-z0-9_+/-])[A-Za-z0-9_+/-]{300,}=*"  # any library's string session: base64 of an auth key and more
    r"|(?<=://)[^\s/:@]*:[^\s/@]+(?=@)"  # user:password in a URL
)
_LONG = 300
_SIGN = re.compile(r"token=|lk_|ls_|whsec_|://")
"""Something of it is in every secret's shape that is shorter than ``_LONG``."""

_NOISY = {
    "telethon": logging.ERROR,
    "botocore": logging.WARNING,
    "urllib3": logging.WARNING,
    "alembic": logging.WARNING,
}


def redact(text: str) -> str:
    """Replace what has a secret's shape."""
    if not _may_hold_secret(text):
        return text  # nearly always; to look for the shapes themselves takes twenty times as long
    return _SECRET_SHAPES.sub("[redacted]", text)


def configure_logs(*, level: str, log_format: Literal["json", "console"], process: str) -> None:
    """Send everything that this process logs to standard error, in one format.

    Args:
        process: the role's name (``web``, ``worker-logins-1``), a field of every line.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.format_exc_info,
        _add_process(process),
        _redact_fields,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=28)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    structlog.configure(
        processors=[*shared, renderer],
        logger_factory=lambda name: _Lines(name, handler),
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        cache_logger_on_first_use=True,
    )
    for name, quiet in _NOISY.items():
        logging.getLogger(name).setLevel(quiet)


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger; bind fields to it as the work goes on."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


class _Lines:
    """Writes rendered lines to where the libraries' go, one at a time."""

    def __init__(self, name: str, handler: logging.StreamHandler[Any]) -> None:
        self.name = name
        self._handler = handler

    def info(self, line: str) -> None:
        """Write a line. One that cannot be written (a full disk, a pipe that nobody reads) is lost, and the work goes on."""
        handler = self._handler
        handler.acquire()
        try:
            with contextlib.suppress(OSError, ValueError):
                handler.stream.write(f"{line}\n")
                handler.flush()
        finally:
            handler.release()

    debug = warning = error = critical = info


def _add_process(process: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.setdefault("process", process)
        return event

    return add


def _redact_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    texts = {name: value for name, value in event.items() if isinstance(value, str)}
    if not _may_hold_secret("\n".join(texts.values())):
        return event  # nearly always, and one look at all of them is cheaper than one at each
    event.update({name: redact(text) for name, text in texts.items()})
    return event


def _may_hold_secret(text: str) -> bool:
    return len(text) >= _LONG or _SIGN.search(text) is not None
