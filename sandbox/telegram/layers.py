"""What clients of another layer say and understand in other words.

Of all that a login is answered with, only the user's constructor number changes from layer to layer; what stands behind it is
the same, as far as the sandbox fills it in. Of what a login asks, two requests had other numbers.
Source: https://core.telegram.org/api/layers
"""

import struct
from dataclasses import dataclass
from typing import Any, Final

from sandbox import tl

OLDEST: Final = 155
"""Clients of older layers know other configs and authorizations too, and are not served."""

_USERS: Final = (
    (228, tl.types.User.CONSTRUCTOR_ID),
    (217, 0x31774388),
    (200, 0x020B1422),
    (196, 0x4B46C37E),
    (185, 0x83314FCA),
    (167, 0x215C4438),
    (166, 0xEB602F25),
    (160, 0xABB5F120),
    (OLDEST, 0x8F97C628),
)
"""The first layer of each constructor, as published clients show it; some of the bounds may be a layer or two off."""

_FIRST_OF_TODAYS_PROFILES: Final = 224


@dataclass(frozen=True, slots=True)
class _Renumbered:
    """A TL object under another constructor number."""

    original: Any
    constructor: int

    def _bytes(self) -> bytes:
        serialized: bytes = self.original._bytes()
        return struct.pack("<I", self.constructor) + serialized[4:]

    def __bytes__(self) -> bytes:
        return self._bytes()


def has_profiles(layer: int) -> bool:
    """Tell whether this layer's user profiles are those of the sandbox's own schema; they change more than users do."""
    return layer >= _FIRST_OF_TODAYS_PROFILES


def user_for(layer: int, user: Any) -> Any:
    """Return a user such that a client of this layer can read it."""
    constructor = next((number for first, number in _USERS if layer >= first), _USERS[-1][1])
    return _Renumbered(user, constructor)


class _FormerGetDifference:
    """updates.getDifference of older layers."""

    @staticmethod
    def from_reader(reader: Any) -> Any:
        flags, pts = reader.read_int(), reader.read_int()
        total_limit = reader.read_int() if flags & 1 else None
        date, qts = reader.tgread_date(), reader.read_int()
        return tl.functions.updates.GetDifferenceRequest(pts, date, qts, pts_total_limit=total_limit)


class _FormerResendCode:
    """auth.resendCode of older layers."""

    @staticmethod
    def from_reader(reader: Any) -> Any:
        return tl.functions.auth.ResendCodeRequest(reader.tgread_string(), reader.tgread_string())


FORMER_REQUESTS: Final[dict[int, type]] = {
    0x25939651: _FormerGetDifference,
    0x3EF1A9BF: _FormerResendCode,
}
"""Requests under their former constructor numbers, read as today's. For `tl.also_read`."""
