"""Where a webhook may go: tenants name the addresses, so nothing inside the operator's network may be one.

A name is resolved once, and the connection goes to the very address that was checked, so that a name cannot point elsewhere a
moment later (DNS rebinding).
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from app.errors import InvalidInput, Permanent, Transient

# The cloud's own, at an address that looks public. Source: https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
_METADATA = frozenset({IPv4Address("168.63.129.16")})
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_TUNNELS = (IPv6Network("2001::/32"), IPv6Network("2002::/16"))  # Teredo; 6to4, which carries an IPv4 address
_NO_TARGET = "The address cannot be a webhook's."


class TargetRefused(Permanent):
    """Raised when a webhook's address is one that webhooks must not reach."""

    code = "webhook_target_refused"


@dataclass(frozen=True)
class Target:
    """A checked address: connect there, and talk to ``host``."""

    scheme: str
    host: str
    port: int
    address: str
    path: str


def check_url(url: str, *, allow_private: bool) -> None:
    """Refuse what can be seen to be wrong without a look at the DNS.

    Raises:
        InvalidInput: it is no http(s) URL, not https, has a password in it, or names a private address.
    """
    try:
        literal = _numeric(_split(url, allow_private=allow_private).hostname or "")
    except ValueError as exc:
        raise InvalidInput(_NO_TARGET, errors=(("url", str(exc)),)) from exc
    if literal is not None and not (allow_private or is_public(literal)):
        raise InvalidInput(_NO_TARGET, errors=(("url", "must not be a private address"),))


def resolve(url: str, *, allow_private: bool) -> Target:
    """Look the host up, once, and choose an address that webhooks may reach.

    Raises:
        TargetRefused: the URL is not allowed, or one of the host's addresses is private.
        Transient: the name does not resolve now.
    """
    try:
        parts = _split(url, allow_private=allow_private)
    except ValueError as exc:
        raise TargetRefused(f"The address {exc}.") from exc
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise Transient("The name does not resolve.") from exc
    addresses = [str(entry[4][0]) for entry in found]
    # One private address among public ones is an attempt, not an accident.
    if not allow_private and not all(is_public(ip_address(address)) for address in addresses):
        raise TargetRefused("The host is at a private address.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(scheme=parts.scheme, host=host, port=port, address=addresses[0], path=path)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is on the public Internet: no loopback, private, link-local, shared, metadata or multicast one.

    An IPv6 address that carries an IPv4 address (mapped, NAT64) is judged by that; tunnels (6to4, Teredo) are refused.
    """
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _GLOBAL_UNICAST or any(address in tunnel for tunnel in _TUNNELS):
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved and address not in _METADATA


def _split(url: str, *, allow_private: bool) -> SplitResult:
    if any(ord(character) <= 32 or ord(character) > 126 for character in url):
        raise ValueError("must be written in ASCII without spaces")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("must be an https:// address")
    if parts.scheme == "http" and not allow_private:
        raise ValueError("must be an https:// address")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("must have no user, password or fragment")
    return parts


def _numeric(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host spells, in any of the forms that the system takes (``0x7f.1``), or None for a name."""
    if host == "localhost" or host.endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return ip_address(str(found[0][4][0]))
