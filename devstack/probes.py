"""Cheap questions to a program that has just been started."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

from devstack.ports import HOST


def answers_ok(url: str) -> bool:
    """Whether an HTTP GET of a loopback URL is answered with a 2xx status now."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310  # our own loopback URL
            return bool(200 <= response.status < 300)
    except (OSError, urllib.error.URLError):
        return False


def accepts_connections(port: int) -> bool:
    """Whether something listens at a loopback port now."""
    try:
        with socket.create_connection((HOST, port), timeout=2):
            return True
    except OSError:
        return False
