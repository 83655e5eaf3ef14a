"""Pyrogram's string sessions, which its fork Kurigram shares. They name their data centre by its number only.

The layout, big-endian, as base64 for URLs without padding:

    dc_id u8 · api_id u32 · test_mode u8 · auth key 256 · user_id u64 · is_bot u8      since Pyrogram 2.0.51
    dc_id u8 · test_mode u8 · auth key 256 · user_id u64 · is_bot u8                   since 1.2.20
    dc_id u8 · test_mode u8 · auth key 256 · user_id u32 · is_bot u8                   before
"""

from __future__ import annotations

import struct

from app.settings import DataCentre
from app.telegram.base64_text import read_base64, write_url_base64
from app.telegram.data_centres import NumberedDataCentre, is_test

_LAYOUT = struct.Struct(">BIB256sQB")
_LAYOUTS = {each.size: each for each in (_LAYOUT, struct.Struct(">BB256sQB"), struct.Struct(">BB256sIB"))}


def read_pyrogram_session(text: str) -> tuple[bytes, NumberedDataCentre]:
    """Take it apart: auth key (256 bytes) and data centre. Whose it is, it only claims: many hold a made-up user id.

    Raises:
        ValueError: it is not one.
    """
    raw = read_base64(text)
    if len(raw) not in _LAYOUTS:
        raise ValueError("not a Pyrogram string session: no layout is that long")
    dc_id, *_, test_mode, auth_key, _, is_bot = _LAYOUTS[len(raw)].unpack(raw)
    if dc_id == 0 or test_mode > 1 or is_bot > 1:
        raise ValueError("not a Pyrogram string session: a number in it is out of range")
    return auth_key, NumberedDataCentre(dc_id=dc_id, test_mode=bool(test_mode))


def write_pyrogram_session(
    *, auth_key: bytes, data_centre: DataCentre, api_id: int, telegram_user_id: int | None
) -> str:
    """Build one, of a user and not of a bot.

    Args:
        telegram_user_id: None: not known, which the form writes as 0.
    """
    test_mode = is_test(data_centre)
    return write_url_base64(_LAYOUT.pack(data_centre.dc_id, api_id, test_mode, auth_key, telegram_user_id or 0, False))
