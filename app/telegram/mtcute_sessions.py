"""mtcute's string sessions, in their third version.

The layout, in TL's serialization, as base64 for URLs without padding:

    version u8 = 3 · flags i32 · data centre · its media server, if flags & 4 · (user_id i64 · is_bot Bool), if flags & 1
    · auth key bytes

where a data centre is ``bytes`` of: version u8 = 2 (1 had no test servers) · dc_id u8 · flags u8 (1 IPv6, 2 media only, 4 test)
· address string · port i32. Source: https://core.telegram.org/mtproto/serialize for the types.
"""

from __future__ import annotations

import struct
from typing import Final

from app.settings import DataCentre
from app.telegram.base64_text import read_base64, write_url_base64
from app.telegram.data_centres import is_test
from app.telegram.string_sessions import AUTH_KEY_BYTES, plain_address
from app.telegram.tl_bytes import FALSE, Reader, write_bytes

_VERSION: Final = 3
_WITH_USER, _WITH_MEDIA = 1, 4
_DC_VERSION: Final = 2
_DC_VERSIONS = (1, _DC_VERSION)
_DC_IPV6, _DC_TEST = 1, 4


def read_mtcute_session(text: str) -> tuple[bytes, DataCentre]:
    """Take it apart: auth key (256 bytes) and data centre.

    Raises:
        ValueError: it is not one.
    """
    raw = read_base64(text)
    if raw[0] != _VERSION:
        raise ValueError("not an mtcute string session of version 3")
    reader = Reader(raw[1:])
    try:
        flags = reader.read_number("i")
        data_centre = _read_data_centre(reader.read_bytes())
        if flags & _WITH_MEDIA:
            reader.read_bytes()
        if flags & _WITH_USER:
            reader.read_number("q")
            reader.read_bool()
        auth_key = reader.read_bytes()
    except ValueError:
        # ``from None``: the exception quotes what was read.
        raise ValueError("not an mtcute string session: it is cut off, or no TL") from None
    if len(auth_key) != AUTH_KEY_BYTES or not reader.ended():
        raise ValueError("not an mtcute string session: its auth key is not 256 bytes long")
    return auth_key, data_centre


def write_mtcute_session(*, auth_key: bytes, data_centre: DataCentre, telegram_user_id: int | None) -> str:
    """Build one, of a user and not of a bot.

    Args:
        telegram_user_id: None: not known; mtcute then asks.
    """
    user = b"" if telegram_user_id is None else struct.pack("<qI", telegram_user_id, FALSE)
    head = struct.pack("<Bi", _VERSION, _WITH_USER if user else 0)
    server = write_bytes(_write_data_centre(data_centre))
    return write_url_base64(head + server + user + write_bytes(auth_key))


def _read_data_centre(raw: bytes) -> DataCentre:
    reader = Reader(raw)
    version, dc_id, _ = reader.read(3)
    host, port = str(plain_address(reader.read_bytes().decode())), reader.read_number("i")
    if version not in _DC_VERSIONS or dc_id == 0 or not 0 < port < 65536:
        raise ValueError("not an mtcute string session: its data centre makes no sense")
    return DataCentre(dc_id=dc_id, host=host, port=port)


def _write_data_centre(data_centre: DataCentre) -> bytes:
    flags = (_DC_IPV6 if ":" in data_centre.host else 0) | (_DC_TEST if is_test(data_centre) else 0)
    head = struct.pack("<BBB", _DC_VERSION, data_centre.dc_id, flags)
    return head + write_bytes(data_centre.host.encode()) + struct.pack("<i", data_centre.port)
