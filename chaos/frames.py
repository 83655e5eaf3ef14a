"""What passes on the wire to PostgreSQL and to Redis, cut into messages and put into words.

Both protocols are plain on loopback. Only what clients send is read; answers are passed on as they come.

Source: https://www.postgresql.org/docs/current/protocol-message-formats.html, https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol

_LONGEST_WORDS = 400
_WRITES = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM) (\w+)")
_NO_TYPE_YET = (80877103, 80877104, 80877102)  # SSLRequest, GSSENCRequest, CancelRequest: not the start of a session


class Frame(NamedTuple):
    """One message, its bytes and what it says: ``COMMIT of UPDATE logins``, ``PUBLISH latchkey:login-changed``."""

    raw: bytes
    words: str


class Reader(Protocol):
    """Cuts one connection's bytes into messages."""

    def feed(self, received: bytes) -> Iterator[Frame]:
        """Yield the messages that are complete now."""


class PostgresReader:
    """Reads a PostgreSQL client. A COMMIT is told with what its transaction has written."""

    def __init__(self) -> None:
        self._buffer = b""
        self._in_session = False
        self._written: dict[str, None] = {}

    def feed(self, received: bytes) -> Iterator[Frame]:
        """As ``Reader.feed``."""
        self._buffer += received
        while frame := self._next():
            yield frame

    def _next(self) -> Frame | None:
        type_bytes = 1 if self._in_session else 0
        if len(self._buffer) < type_bytes + 4:
            return None
        end = type_bytes + int.from_bytes(self._buffer[type_bytes : type_bytes + 4], "big")
        if len(self._buffer) < end:
            return None
        raw, self._buffer = self._buffer[:end], self._buffer[end:]
        if not self._in_session:
            self._in_session = int.from_bytes(raw[4:8], "big") not in _NO_TYPE_YET
            return Frame(raw, "")
        return Frame(raw, self._tell(raw[5:-1].decode(errors="replace")) if raw[:1] == b"Q" else "")

    def _tell(self, statement: str) -> str:
        if statement == "BEGIN":
            self._written = {}
        if statement == "COMMIT":
            return f"COMMIT of {', '.join(self._written) or 'nothing'}"
        self._written |= {f"{verb.split()[0]} {table}": None for verb, table in _WRITES.findall(statement)}
        return statement[:_LONGEST_WORDS]


class RedisReader:
    """Reads a Redis client: commands as arrays of bulk strings."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, received: bytes) -> Iterator[Frame]:
        """As ``Reader.feed``."""
        self._buffer += received
        start = 0
        while (end := self._end_of_command(start)) is not None:
            yield Frame(self._buffer[start:end], self._tell(start))
            start = end
        self._buffer = self._buffer[start:]

    def _end_of_command(self, start: int) -> int | None:
        count, place = self._number(start)
        for _ in range(count or 0):
            length, place = self._number(place)
            place += (length or 0) + 2
        return None if count is None or place > len(self._buffer) else place

    def _number(self, start: int) -> tuple[int | None, int]:
        """The number in a line such as ``*3`` or ``$17``, and where the next line begins; None: it is not there yet."""
        line_end = self._buffer.find(b"\r\n", start)
        if line_end < 0:
            return None, len(self._buffer) + 1
        return int(self._buffer[start + 1 : line_end]), line_end + 2

    def _tell(self, start: int) -> str:
        lines = self._buffer[start : start + _LONGEST_WORDS].split(b"\r\n")
        return b" ".join(lines[2:9:2]).decode(errors="replace")
