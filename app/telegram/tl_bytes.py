"""TL's bytes and numbers, as far as string sessions are made of them; the web process reads those, and starts without Telethon.

Source: https://core.telegram.org/mtproto/serialize#base-types
"""

from __future__ import annotations

import struct
from typing import Any, Final

TRUE: Final = 0x997275B5  # boolTrue
FALSE: Final = 0xBC799737  # boolFalse

_LONG_MARK: Final = 254  # in place of a length that needs three bytes


def write_bytes(value: bytes) -> bytes:
    """Serialize bytes: their length, themselves, zeros up to a multiple of 4."""
    length = len(value)
    head = bytes([length]) if length < _LONG_MARK else bytes([_LONG_MARK]) + length.to_bytes(3, "little")
    return head + value + bytes(-(len(head) + length) % 4)


class Reader:
    """Reads values one after the other.

    Raises (all methods):
        ValueError: the bytes end before the value does.
    """

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def read(self, size: int) -> bytes:
        """So many bytes as they are."""
        found = self._raw[self._at : self._at + size]
        if len(found) < size:
            raise ValueError("cut off")
        self._at += size
        return found

    def read_number(self, layout: str) -> Any:
        """One number, as ``struct`` spells it, in little-endian order."""
        (number,) = struct.unpack(f"<{layout}", self.read(struct.calcsize(f"<{layout}")))
        return number

    def read_bool(self) -> bool:
        """A Bool.

        Raises:
            ValueError: it is none.
        """
        number = self.read_number("I")
        if number not in (TRUE, FALSE):
            raise ValueError("no Bool")
        return bool(number == TRUE)

    def read_bytes(self) -> bytes:
        """What ``write_bytes`` wrote."""
        length, head = self.read(1)[0], 1
        if length == _LONG_MARK:
            length, head = int.from_bytes(self.read(3), "little"), 4
        value = self.read(length)
        self.read(-(head + length) % 4)
        return value

    def ended(self) -> bool:
        """Whether all has been read."""
        return self._at == len(self._raw)
