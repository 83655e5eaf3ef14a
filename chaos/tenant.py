"""The tenant's calls to Latchkey. Each is written down with its answer, for whoever judges the HTTP side afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

_ANSWER_SECONDS = 15.0  # beyond what was asked to be waited for
_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call that was answered with a fault of the server's (``status``), or not at all (None).

    Args:
        what: method and path.
        trouble: the content type of the answer, or how the connection failed.
        code: of the problem.
    """

    what: str
    began_at: float
    ended_at: float
    status: int | None
    trouble: str
    code: str | None = None


class Answer:
    """What Latchkey said. ``status`` is None when it said nothing."""

    def __init__(self, status: int | None, body: dict[str, Any]) -> None:
        self.status = status
        self.body = body

    def __str__(self) -> str:
        """As a story tells it: the status, and the code of a problem."""
        return f"{self.status or 'no answer'} {self.body.get('code', '') if (self.status or 0) >= 400 else ''}".strip()

    @property
    def known(self) -> bool:
        """Whether it is certain what became of the call."""
        return self.status is not None and self.status < 500


class Tenant:
    """See the module. An ``async with`` block."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url
        self.api_key = api_key
        self.failed: list[Call] = []
        self.answered = 0
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Tenant:
        self._http = aiohttp.ClientSession(
            base_url=self.url,
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._http is not None
        await self._http.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        wait_seconds: float = 0.0,
        login_secret: str | None = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Answer:
        """Make a call once.

        Args:
            wait_seconds: how long the answer was asked to be held back.
            login_secret: what a browser has instead of the API key.
        """
        key = {"Login-Secret": login_secret} if login_secret else {"Authorization": f"Bearer {self.api_key}"}
        assert self._http is not None
        began_at = time.time()
        timeout = aiohttp.ClientTimeout(total=wait_seconds + _ANSWER_SECONDS)
        try:
            async with self._http.request(
                method, path, timeout=timeout, headers={**key, **(headers or {})}, **options
            ) as answer:
                status, kind = answer.status, answer.content_type
                body = await answer.json(content_type=None) if kind.endswith("json") else {}
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            self._note(f"{method} {path}", began_at, None, type(exc).__name__, None)
            return Answer(None, {})
        self.answered += 1
        if status >= 500:
            self._note(f"{method} {path}", began_at, status, kind, body.get("code"))
        return Answer(status, body if isinstance(body, dict) else {})

    async def call_until_known(self, method: str, path: str, *, within_seconds: float = 60.0, **options: Any) -> Answer:
        """Make a call that may be repeated until it is certain what became of it, or the time is up."""
        give_up_at = time.time() + within_seconds
        while True:
            answer = await self.call(method, path, **options)
            if answer.known or time.time() > give_up_at:
                return answer
            await asyncio.sleep(_PAUSE_SECONDS)

    def _note(self, what: str, began_at: float, status: int | None, trouble: str, code: str | None) -> None:
        call = Call(what=what, began_at=began_at, ended_at=time.time(), status=status, trouble=trouble, code=code)
        self.failed.append(call)
