"""Where Latchkey is, and who asks: the entrance to this package."""

from __future__ import annotations

import os
import socket
from typing import Any

from .api import LeaseApi
from .lease import SessionLease

PACE_SECONDS = (0.2, 0.5)
RENEW_SECONDS = 20.0


class Latchkey:
    """An installation of Latchkey. Holds no connection; any number of leases may be open at once.

    Args:
        base_url: ``https://latchkey.example``.
        api_key: with the scope ``sessions:open``.
        pace_seconds: the pause between two requests of a leased client, at least and at most. Telegram limits
            accounts that ask faster.
        renew_seconds: the longest pause between two renewals of a lease. A session that is revoked leaves its holder 60 s,
            whatever was granted, and a refused renewal is how the holder hears of it.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        pace_seconds: tuple[float, float] = PACE_SECONDS,
        renew_seconds: float = RENEW_SECONDS,
    ) -> None:
        self._base_url = base_url
        self._api_key = api_key
        self._renew_seconds = renew_seconds
        self._pace_seconds = pace_seconds

    def lease(
        self,
        session_id: str,
        *,
        holder: str | None = None,
        ttl_seconds: int = 60,
        purpose: str | None = None,
        **options: Any,
    ) -> SessionLease:
        """Use a session: ``async with latchkey.lease(session_id) as client:`` gives a connected ``TelegramClient``.

        The lease is renewed in the background, and what Telegram answers is reported as the session's health. Whatever
        happens, the client is disconnected before the lease could go to somebody else.

        Args:
            holder: who uses the session, as others are told; None: this host and process.
            ttl_seconds: 10 to 3600. How long the session stays taken when this process dies.
            purpose: why, for the audit.
            options: of ``TelegramClient``, such as ``receive_updates=False``; api_id and device names come with the lease.
        """
        return SessionLease(
            LeaseApi(self._base_url, self._api_key, session_id),
            holder=holder or f"{socket.gethostname()}:{os.getpid()}",
            ttl_seconds=ttl_seconds,
            purpose=purpose,
            renew_seconds=self._renew_seconds,
            pace_seconds=self._pace_seconds,
            options=options,
        )
