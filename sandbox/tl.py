"""Reading and writing TL, by the classes that Telethon generates from Telegram's schema. Knows no method's
meaning.

Telethon ships no types, so this is the border: what comes out of here is annotated on our side.
"""

import struct
import zlib
from typing import Any, Final

from telethon.errors import TypeNotFoundError
from telethon.extensions import BinaryReader
from telethon.tl import TLObject, TLRequest, alltlobjects, functions, types
from telethon.tl.core import GzipPacked

LAYER: Final[int] = alltlobjects.LAYER
"""The schema version in which the sandbox speaks; `sandbox.telegram.layers` has what other ones need."""

VECTOR: Final = 0x1CB5C415
_BOOL_TRUE: Final = 0x997275B5
_BOOL_FALSE: Final = 0xBC799737
_PARSING_ERRORS: Final = (
    *(struct.error, BufferError, RuntimeError, ValueError, TypeError, OverflowError),
    *(OSError, EOFError, zlib.error),  # a damaged gzip_packed inside
)

__all__ = ["LAYER", "VECTOR", "GzipPacked", "MalformedTLError", "TLObject", "TLRequest", "UnknownConstructorError"]
__all__ += ["also_read", "constructor_of", "functions", "method_name", "read", "read_bytes", "types", "write"]


class MalformedTLError(Exception):
    """Raised when bytes do not parse as what their constructor promises."""


class UnknownConstructorError(MalformedTLError):
    """Raised when the schema has no such constructor; `constructor` is its number."""

    def __init__(self, constructor: int, *, outermost: bool) -> None:
        super().__init__(f"unknown constructor {constructor:#010x}")
        self.constructor = constructor
        self.outermost = outermost


def constructor_of(body: bytes) -> int:
    """Return the constructor number that a serialized object starts with; 0 when there is none."""
    return int.from_bytes(body[:4], "little") if len(body) >= 4 else 0


def read(body: bytes) -> Any:
    """Parse one object or request.

    Raises:
        UnknownConstructorError: somewhere inside is a number that the schema does not have.
        MalformedTLError: the bytes end early or make no sense.
    """
    try:
        return BinaryReader(body).tgread_object()
    except TypeNotFoundError as exc:
        constructor = int(exc.invalid_constructor_id)
        raise UnknownConstructorError(constructor, outermost=constructor == constructor_of(body)) from exc
    except _PARSING_ERRORS as exc:
        raise MalformedTLError(str(exc)) from exc


def also_read(readers: dict[int, type]) -> None:
    """Let `read` know more constructors, by classes that have Telethon's `from_reader`."""
    alltlobjects.tlobjects.update(readers)


def read_bytes(body: bytes) -> bytes:
    """Parse one string of bytes.

    Raises:
        MalformedTLError: it ends early.
    """
    try:
        return bytes(BinaryReader(body).tgread_bytes())
    except (struct.error, BufferError) as exc:
        raise MalformedTLError(str(exc)) from exc


def write(value: Any) -> bytes:
    """Serialize an object, a bool, or a list of objects as a boxed vector."""
    if isinstance(value, bool):
        return struct.pack("<I", _BOOL_TRUE if value else _BOOL_FALSE)
    if isinstance(value, list):
        return struct.pack("<Ii", VECTOR, len(value)) + b"".join(write(item) for item in value)
    return bytes(value)


def method_name(request: TLRequest) -> str:
    """Return a request's name as the schema writes it, e.g. `auth.exportLoginToken`."""
    request_class = type(request)
    name = request_class.__name__.removesuffix("Request")
    namespace = request_class.__module__.removeprefix(functions.__name__).lstrip(".")
    name = name[0].lower() + name[1:]
    return f"{namespace}.{name}" if namespace else name
