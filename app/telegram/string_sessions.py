"""Telethon string sessions: an auth key and the data centre that knows it, as one line of text.

The layout, big-endian, as padded base64 for URLs behind the digit 1:

    dc_id u8 · address 4 or 16 · port u16 · auth key 256

Written and read here and not by Telethon, whose modules take a third of the time that the web process has to start.
"""

from __future__ import annotations

import base64
import ipaddress
import socket
import struct

from app.settings import DataCentre
from app.telegram.errors import ConnectionLost

AUTH_KEY_BYTES = 256

_VERSION = "1"
_LAYOUTS = {each.size: each for each in (struct.Struct(">B4sH256s"), struct.Struct(">B16sH256s"))}


def make_string_session(*, auth_key: bytes, data_centre: DataCentre) -> str:
    """Build a Telethon string session. It holds an address: a host name is looked up here, which blocks.

    Raises:
        ConnectionLost: the host name has no address.
    """
    address = ipaddress.ip_address(_address_of(data_centre.host)).packed
    layout = struct.Struct(f">B{len(address)}sH256s")
    return (
        _VERSION
        + base64.urlsafe_b64encode(layout.pack(data_centre.dc_id, address, data_centre.port, auth_key)).decode()
    )


def _address_of(host: str) -> str:
    found = _look_up(host)
    # IPv4 first, as in ``TelegramConnection.find_data_centre``; an address stands for itself.
    return min(found, key=lambda address: ":" in address)


def _look_up(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise ConnectionLost(f"The data centre's host name {host} has no address.") from exc
    return [str(each[4][0]) for each in found]


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def plain_address(text: str) -> Address:
    """Read an address, as what it is and not as it is written: an IPv4 address may be mapped into IPv6.

    Raises:
        ValueError: it is none.
    """
    address = ipaddress.ip_address(text)
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def addresses_of(host: str) -> set[Address]:
    """All addresses of a host; an address stands for itself. Blocks for a host name's look-up.

    Raises:
        ConnectionLost: the host name has no address.
    """
    return {plain_address(each.partition("%")[0]) for each in _look_up(host)}


def read_string_session(text: str) -> tuple[bytes, DataCentre]:
    """Take a Telethon string session apart: auth key (256 bytes) and data centre.

    Raises:
        ValueError: it is not one.
    """
    if not text.startswith(_VERSION):
        raise ValueError("not a Telethon string session: another version")
    try:
        raw = base64.urlsafe_b64decode(text.removeprefix(_VERSION))
    except ValueError:
        # ``from None``: the exception quotes what was read.
        raise ValueError("not a Telethon string session: not base64") from None
    if len(raw) not in _LAYOUTS:
        raise ValueError("not a Telethon string session: no layout is that long")
    dc_id, address, port, auth_key = _LAYOUTS[len(raw)].unpack(raw)
    if dc_id == 0 or port == 0:
        raise ValueError("not a Telethon string session: its data centre or port is 0")
    if not any(auth_key):
        raise ValueError("not a Telethon string session: it has no auth key")
    return auth_key, DataCentre(dc_id=dc_id, host=str(plain_address(str(ipaddress.ip_address(address)))), port=port)
