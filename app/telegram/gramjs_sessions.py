"""GramJS's string sessions.

The layout, big-endian, as padded base64 behind the digit 1:

    dc_id u8 · length of the address u16 · address as text · port u16 · auth key 256

GramJS takes both numbers for signed: it cannot connect to a port above 32767.
"""

from __future__ import annotations

import base64
import struct

from app.settings import DataCentre
from app.telegram.base64_text import read_base64
from app.telegram.data_centres import NumberedDataCentre
from app.telegram.string_sessions import AUTH_KEY_BYTES, plain_address

_VERSION = "1"
_HEAD, _PORT = struct.Struct(">BH"), struct.Struct(">H")
_WEB_HOSTS = ".web.telegram.org"  # what it connects to in a browser: a WebSocket, where we have no business


def read_gramjs_session(text: str) -> tuple[bytes, DataCentre | NumberedDataCentre]:
    """Take it apart: auth key (256 bytes) and data centre, by its number only if it was made in a browser.

    Raises:
        ValueError: it is not one.
    """
    if not text.startswith(_VERSION):
        raise ValueError("not a GramJS string session: another version")
    raw = read_base64(text.removeprefix(_VERSION))
    if len(raw) < _HEAD.size:
        raise ValueError("not a GramJS string session: too short")
    dc_id, length = _HEAD.unpack_from(raw)
    if dc_id == 0 or length == 0 or len(raw) != _HEAD.size + length + _PORT.size + AUTH_KEY_BYTES:
        raise ValueError("not a GramJS string session: its lengths do not add up")
    host = raw[_HEAD.size : _HEAD.size + length].decode("ascii")
    (port,) = _PORT.unpack_from(raw, _HEAD.size + length)
    auth_key = raw[-AUTH_KEY_BYTES:]
    if host.endswith(_WEB_HOSTS):
        return auth_key, NumberedDataCentre(dc_id=dc_id, test_mode=False)
    if port == 0 or not host.isprintable():
        raise ValueError("not a GramJS string session: it has no address")
    return auth_key, DataCentre(dc_id=dc_id, host=_plain(host), port=port)


def write_gramjs_session(*, auth_key: bytes, data_centre: DataCentre) -> str:
    """Build one."""
    host = data_centre.host.encode("ascii")
    raw = _HEAD.pack(data_centre.dc_id, len(host)) + host + _PORT.pack(data_centre.port) + auth_key
    return _VERSION + base64.b64encode(raw).decode()


def _plain(host: str) -> str:
    try:
        return str(plain_address(host))
    except ValueError:
        return host  # a host name: whether it may be connected to is not for this module to say
