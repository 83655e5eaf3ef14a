"""Where Latchkey is, and who asks: the entrances to this package, one that blocks and one that is awaited."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, Self

from .drivers import AsyncDriver, Driver
from .groups import AsyncLeases, AsyncLogins, AsyncSessions, Leases, Logins, Sessions

if TYPE_CHECKING:  # needs Telethon, which is optional
    from .blocking_lease import BlockingLease
    from .lease import SessionLease

PACE_SECONDS = (0.2, 0.5)
RENEW_SECONDS = 20.0


class _Access:
    """What both entrances know."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        login_secret: str | None = None,
        pace_seconds: tuple[float, float] = PACE_SECONDS,
        renew_seconds: float = RENEW_SECONDS,
    ) -> None:
        if (api_key is None) == (login_secret is None):
            raise ValueError("say api_key or login_secret")
        self._base_url = base_url
        self._headers = (
            {"Authorization": f"Bearer {api_key}"} if login_secret is None else {"Login-Secret": login_secret}
        )
        self._renew_seconds = renew_seconds
        self._pace_seconds = pace_seconds
        self._open()

    def _open(self) -> None:
        raise NotImplementedError

    def _lease(
        self, session_id: str, holder: str | None, ttl_seconds: int, purpose: str | None, options: dict[str, Any]
    ) -> SessionLease:
        try:
            from .lease import SessionLease
        except ModuleNotFoundError as exc:
            raise ImportError("A leased client needs Telethon: pip install latchkey-client[telethon]") from exc
        return SessionLease(
            session_id,
            # Its own connections: it lives in the event loop that enters it, and renews in time whatever others do.
            make_driver=lambda: AsyncDriver(self._base_url, self._headers),
            holder=holder or f"{socket.gethostname()}:{os.getpid()}",
            ttl_seconds=ttl_seconds,
            purpose=purpose,
            renew_seconds=self._renew_seconds,
            pace_seconds=self._pace_seconds,
            options=options,
        )


class AsyncLatchkey(_Access):
    """An installation of Latchkey, for programs with an event loop.

    ``logins``, ``sessions`` and ``leases`` hold its calls. An ``async with`` block closes the connections at its end; without
    one, call ``close``. Leases do not count: each has its own. Any number may be open at once.

    Args:
        base_url: ``https://latchkey.example``.
        api_key: ``lk_…``; for leases with the scope ``sessions:open``.
        login_secret: instead of an API key, a login's own ``client_secret``: for that login alone.
        pace_seconds: the pause between two requests of a leased client, at least and at most. Telegram limits
            accounts that ask faster.
        renew_seconds: the longest pause between two renewals of a lease. A session that is revoked leaves its holder 60 s,
            whatever was granted, and a refused renewal is how the holder hears of it.
    """

    def _open(self) -> None:
        self._driver = AsyncDriver(self._base_url, self._headers)
        self.logins = AsyncLogins(self._driver)
        self.sessions = AsyncSessions(self._driver)
        self.leases = AsyncLeases(self._driver)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._driver.close()

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
        happens, the client is disconnected before the lease could go to somebody else. Needs Telethon
        (``latchkey-client[telethon]``).

        Args:
            holder: who uses the session, as others are told; None: this host and process.
            ttl_seconds: 10 to 3600. How long the session stays taken when this process dies.
            purpose: why, for the audit.
            options: of ``TelegramClient``, such as ``receive_updates=False``; api_id and device names come with the lease.
        """
        return self._lease(session_id, holder, ttl_seconds, purpose, options)


class Latchkey(_Access):
    """An installation of Latchkey, for programs without an event loop. As ``AsyncLatchkey``, but its calls block.

    Threads may share it.
    """

    def _open(self) -> None:
        self._driver = Driver(self._base_url, self._headers)
        self.logins = Logins(self._driver)
        self.sessions = Sessions(self._driver)
        self.leases = Leases(self._driver)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._driver.close()

    def lease(
        self,
        session_id: str,
        *,
        holder: str | None = None,
        ttl_seconds: int = 60,
        purpose: str | None = None,
        **options: Any,
    ) -> BlockingLease:
        """Use a session: ``with latchkey.lease(session_id) as client:``. As ``AsyncLatchkey.lease``, but the client's methods
        block. Event handlers run in another thread: the lease's own.
        """
        lease = self._lease(session_id, holder, ttl_seconds, purpose, options)
        from .blocking_lease import BlockingLease  # Telethon is optional

        return BlockingLease(lease)
