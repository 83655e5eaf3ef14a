"""The ``RateLimit`` and ``RateLimit-Policy`` headers.

Source: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
"""

from __future__ import annotations

from flask import Flask, Response, g

from app.tenants.limits import QuotaState


def remember_quota(standing: QuotaState) -> None:
    """Have the current request's answer tell where the caller stands."""
    g.standing = standing


def install_rate_headers(app: Flask) -> None:
    """Send the headers with every answer to a limited call."""
    app.after_request(_add)


def _add(response: Response) -> Response:
    standing: QuotaState | None = g.get("standing")
    if standing is not None:
        for name, value in rate_headers(standing):
            response.headers[name] = value
    return response


def rate_headers(standing: QuotaState) -> tuple[tuple[str, str], tuple[str, str]]:
    """The headers that tell where a caller stands."""
    quota = standing.quota
    return (
        ("RateLimit-Policy", f'"{quota.name}";q={quota.amount};w={quota.window_seconds}'),
        ("RateLimit", f'"{quota.name}";r={standing.remaining};t={standing.reset_seconds}'),
    )
