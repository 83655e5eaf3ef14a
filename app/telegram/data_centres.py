"""Where data centres are: Telegram's own by heart, and the server that TELEGRAM_DC_ADDRESS names."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from app.settings import DataCentre
from app.telegram.string_sessions import addresses_of, plain_address

TELEGRAM_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "91.105.192.0/23",
        "91.108.4.0/22",
        "91.108.8.0/22",
        "91.108.12.0/22",
        "91.108.16.0/22",
        "91.108.20.0/22",
        "91.108.56.0/22",
        "149.154.160.0/20",
        "185.76.151.0/24",
        "2001:67c:4e8::/48",
        "2001:b28:f23c::/48",
        "2001:b28:f23d::/48",
        "2001:b28:f23f::/48",
        "2a0a:f280::/32",
    )
)
"""Where Telegram's data centres are. Source: https://core.telegram.org/resources/cidr.txt"""

_PORT = 443
# As ``help.getConfig`` tells them. Source: https://core.telegram.org/api/datacenter
_ADDRESSES = {
    1: "149.154.175.53",
    2: "149.154.167.51",
    3: "149.154.175.100",
    4: "149.154.167.91",
    5: "91.108.56.130",
    203: "91.105.192.100",
}
_TEST_ADDRESSES = {1: "149.154.175.10", 2: "149.154.167.40", 3: "149.154.175.117"}


class NumberedDataCentre(NamedTuple):
    """A data centre by its number alone: some string sessions leave the address to the library that reads them.

    ``test_mode``: it is one of Telegram's test servers, which are numbered anew.
    """

    dc_id: int
    test_mode: bool


class AddressUnknown(ValueError):
    """Raised when nobody here knows where a numbered data centre is."""


def is_telegrams(host: str) -> bool:
    """Whether it is an address of Telegram's. A host name is none."""
    try:
        address = plain_address(host)
    except ValueError:
        return False
    return any(address in network for network in TELEGRAM_NETWORKS)


def is_of(server: DataCentre, host: str) -> bool:
    """Whether the configured server is at this host: all its data centres are. Blocks for a look-up of the server's name.

    Raises:
        ConnectionLost: the server's host name has no address.
    """
    try:
        address = plain_address(host)
    except ValueError:
        return host == server.host
    return address in addresses_of(server.host)


def is_test(data_centre: DataCentre) -> bool:
    """Whether it is one of Telegram's test servers."""
    return data_centre.host in _TEST_ADDRESSES.values()


def is_unlocated(data_centre: DataCentre, server: DataCentre) -> bool:
    """Whether it stands at the configured server's own address under another number: where it really is, the server says.

    Blocks for a look-up of the server's name.

    Raises:
        ConnectionLost: the server's host name has no address.
    """
    there = addresses_of(server.host) if data_centre.dc_id != server.dc_id and data_centre.port == server.port else ()
    return plain_address(data_centre.host) in there


def locate(numbered: NumberedDataCentre, *, server: DataCentre | None) -> DataCentre:
    """Find the address of a numbered data centre.

    Args:
        server: the configured one; None: Telegram itself.

    Raises:
        AddressUnknown: Telegram has no such data centre.

    Returns:
        Where to connect to; with a configured server that is not Telegram's, where to ask (``is_unlocated``).
    """
    if server is not None and not is_telegrams(server.host):
        return server._replace(dc_id=numbered.dc_id)
    host = (_TEST_ADDRESSES if numbered.test_mode else _ADDRESSES).get(numbered.dc_id)
    if host is None:
        raise AddressUnknown
    return DataCentre(dc_id=numbered.dc_id, host=host, port=_PORT)
