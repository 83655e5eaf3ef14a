"""What is wrong with the way that browsers reach this installation, as far as its settings tell."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

from app.settings import Settings


class Exposure(NamedTuple):
    """A fault of the public address, and what to do about it."""

    found: str
    advice: str


def find_exposures(settings: Settings) -> list[Exposure]:
    """Look at PUBLIC_URL and TRUSTED_PROXIES. An address that only this machine or network reaches may be anything."""
    parts = urlsplit(settings.public_url)
    if not _is_public(parts.hostname or ""):
        return []
    found = []
    if parts.scheme != "https":
        advice = "put TLS in front of the web role and begin PUBLIC_URL with https://"
        found.append(
            Exposure("PUBLIC_URL is public and has no TLS: login secrets and passwords travel in the open", advice)
        )
    if settings.trusted_proxies == 0:
        advice = "set TRUSTED_PROXIES to how many proxies stand in front of the web role (1, usually)"
        found.append(
            Exposure("PUBLIC_URL is public and no proxy is trusted: all users share one address's limits", advice)
        )
    return found


def _is_public(host: str) -> bool:
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal", ".test", ".example")):
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host
