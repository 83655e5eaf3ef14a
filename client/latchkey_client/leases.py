"""Leases, call by call. ``Latchkey.lease`` does all of it, with a connected Telegram client; these are for other MTProto
libraries. None of them is sent again by itself: a lease counts from when it was asked for, and only the caller knows that."""

from __future__ import annotations

from .exchange import exchange, nothing, place, reads, said
from .models import Lease, RenewedLease
from .steps import Flow, Request


def acquire(
    session_id: str,
    *,
    holder: str,
    ttl_seconds: int,
    purpose: str | None = None,
    session_format: str | None = None,
) -> Flow[Lease]:
    """Acquire a lease: from now on the session is yours alone, until ``ttl_seconds`` after you asked.

    Args:
        holder: who uses the session, as others are told.
        ttl_seconds: 10 to 3600.
        purpose: why, for the audit.
        session_format: of the session string: ``telethon``, ``pyrogram``, ``gramjs`` or ``mtcute``; None: Telethon's.

    Raises:
        SessionLeased, SessionNotActive, NotFound, AccessDenied, LatchkeyUnavailable.
    """
    body = said(holder=holder, ttl_seconds=ttl_seconds, purpose=purpose, format=session_format)
    request = Request(method="POST", path=place("sessions", session_id, "lease"), body=body, tries=1)
    return (yield from exchange(request, reads(Lease)))


def renew(session_id: str, lease_id: str, *, ttl_seconds: int, healthy: bool | None = None) -> Flow[RenewedLease]:
    """Let a lease go on until ``ttl_seconds`` after you asked.

    Args:
        healthy: True: Telegram answered, which counts as validation. False: it said that the session is over.

    Raises:
        LeaseLost: disconnect at once.
        NotFound, AccessDenied, LatchkeyUnavailable.
    """
    body = said(ttl_seconds=ttl_seconds, healthy=healthy)
    request = Request(method="PUT", path=place("sessions", session_id, "lease", lease_id), body=body, tries=1)
    return (yield from exchange(request, reads(RenewedLease)))


def release(session_id: str, lease_id: str, *, healthy: bool | None = None) -> Flow[None]:
    """Release a lease. Disconnect from Telegram before.

    Args:
        healthy: as in ``renew``, since the last renewal.

    Raises:
        LeaseLost, NotFound, AccessDenied, LatchkeyUnavailable.
    """
    query = {"healthy": None if healthy is None else str(healthy).lower()}
    request = Request(method="DELETE", path=place("sessions", session_id, "lease", lease_id), query=query, tries=1)
    return (yield from exchange(request, nothing))
