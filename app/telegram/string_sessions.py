"""Telethon string sessions: an auth key and the data centre that knows it, as one line of text."""

from __future__ import annotations

import ipaddress
import socket

from telethon.crypto import AuthKey
from telethon.sessions import StringSession

from app.settings import DataCentre
from app.telegram.arithmetic import AUTH_KEY_BYTES
from app.telegram.errors import ConnectionLost


def make_string_session(*, auth_key: bytes, data_centre: DataCentre) -> str:
    """Build a Telethon string session. It holds an address: a host name is looked up here, which blocks.

    Raises:
        ConnectionLost: the host name has no address.
    """
    session = StringSession()
    session.set_dc(data_centre.dc_id, _address_of(data_centre.host), data_centre.port)
    session.auth_key = AuthKey(auth_key)
    return str(session.save())


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
    try:
        session = StringSession(text)
        address = plain_address(session.server_address)
        key: bytes = session.auth_key.key
    except Exception as exc:
        raise ValueError("not a Telethon string session") from exc
    if not (session.dc_id > 0 and 0 < session.port < 65536):
        raise ValueError("not a Telethon string session: its data centre or port is 0")
    if len(key) != AUTH_KEY_BYTES:
        raise ValueError("not a Telethon string session: its auth key is not 256 bytes long")
    return key, DataCentre(dc_id=session.dc_id, host=str(address), port=session.port)
