"""Where webhooks may go."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from app.errors import InvalidInput
from app.webhooks.targets import check_url, is_public


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *("168.63.129.16", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "::ffff:127.0.0.1"),
        *("::ffff:a00:1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:1::1", "ff02::1", "::7f00:1"),
    ],
)
def test_addresses_inside_are_refused(address: str) -> None:
    """Loopback, private, link-local, shared, metadata and multicast, in every form that IPv6 has for them."""
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_pass(address: str) -> None:
    """What is on the Internet may be reached."""
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com/", "ftp://example.com/", "https://", "https://user:pw@example.com/", "https://a.b/#x"),
        *("https://127.0.0.1/", "https://2130706433/", "https://0x7f.1/", "https://[::ffff:10.0.0.1]/"),
        *("https://localhost/", "https://x.localhost/", "https://exa mple.com/", "https://example.com:0/", "nonsense"),
    ],
)
def test_senseless_urls_are_refused_at_once(url: str) -> None:
    """The caller hears it when the webhook is made, not when it fails."""
    with pytest.raises(InvalidInput):
        check_url(url, allow_private=False)


def test_a_setting_allows_private_ones() -> None:
    """For trying things, and where receivers are inside."""
    check_url("http://127.0.0.1:8080/hook", allow_private=True)
