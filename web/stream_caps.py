"""How many streams and long polls may be open in one process: for a login, a tenant and an address of browsers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import RateLimited
from app.settings import Settings

_RETRY_SECONDS = 5


class StreamCaps:
    """Counts what is open. Safe for threads and greenlets."""

    def __init__(self, settings: Settings) -> None:
        self._most = {
            "login": settings.max_streams_per_login,
            "tenant": settings.max_streams_per_tenant,
            "address": settings.max_streams_per_address,
        }
        self._lock = threading.Lock()
        self._open: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def open(self, *, login_id: str | None, tenant_id: str, address: str | None) -> Iterator[None]:
        """Have one more open for the length of a block.

        Args:
            login_id: None: it is of no single login.
            address: of the browser that holds the login's own secret; None for an API key, whose address is the tenant's own.

        Raises:
            RateLimited: there are as many as there may be.
        """
        named = (("login", login_id), ("tenant", tenant_id), ("address", address))
        whose = [(kind, which) for kind, which in named if which is not None]
        with self._lock:
            for kind, which in whose:
                if self._open[kind, which] >= self._most[kind]:
                    raise RateLimited(
                        f"{self._most[kind]} streams of this {kind} are open; close some.",
                        retry_after_seconds=_RETRY_SECONDS,
                    )
            self._open.update(whose)
        try:
            yield
        finally:
            with self._lock:
                self._open.subtract(whose)
                for each in whose:
                    if self._open[each] <= 0:
                        del self._open[each]
