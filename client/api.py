"""Latchkey's lease calls over HTTP: one method each, problems turned into exceptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp

from .errors import (
    AccessDenied,
    LatchkeyError,
    LatchkeyUnavailable,
    LeaseLost,
    SessionLeased,
    SessionNotActive,
    SessionNotFound,
)

CALL_SECONDS = 10.0

_NOT_ALLOWED = (401, 403)


@dataclass(frozen=True, kw_only=True)
class GrantedLease:
    """What Latchkey answered an acquisition with."""

    lease_id: str
    fencing_token: int
    session_string: str = field(repr=False)
    telegram_user_id: int | None
    api_id: int
    device: Mapping[str, str]


class LeaseApi:
    """The calls on one session's lease. An ``async with`` block.

    Args:
        base_url: where Latchkey is, with or without a slash at the end.
    """

    def __init__(self, base_url: str, api_key: str, session_id: str) -> None:
        self._url = f"{base_url.rstrip('/')}/v1/sessions/{session_id}/lease"
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> LeaseApi:
        self._http = aiohttp.ClientSession(
            headers=self._headers, timeout=aiohttp.ClientTimeout(total=CALL_SECONDS), raise_for_status=False
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()

    async def acquire(self, *, holder: str, ttl_seconds: int, purpose: str | None) -> GrantedLease:
        """Take the lease.

        Raises:
            SessionLeased, SessionNotActive, SessionNotFound, AccessDenied, LatchkeyUnavailable.
        """
        body = {"holder": holder, "ttl_seconds": ttl_seconds} | ({"purpose": purpose} if purpose else {})
        told = await self._call("POST", "", body)
        names = ("lease_id", "fencing_token", "session_string", "telegram_user_id", "api_id", "device")
        if missing := [name for name in names if name not in told]:
            raise _nonsense(f"a lease without {missing[0]}")
        return GrantedLease(**{name: told[name] for name in names})

    async def renew(self, lease_id: str, *, ttl_seconds: int, healthy: bool | None) -> None:
        """Let the lease go on.

        Raises:
            LeaseLost, SessionNotFound, AccessDenied, LatchkeyUnavailable.
        """
        body = {"ttl_seconds": ttl_seconds} | ({} if healthy is None else {"healthy": healthy})
        await self._call("PUT", f"/{lease_id}", body)

    async def release(self, lease_id: str, *, healthy: bool | None) -> None:
        """Release the lease.

        Args:
            healthy: what Telegram's answers said since the last renewal; None: nothing.

        Raises:
            LeaseLost, SessionNotFound, AccessDenied, LatchkeyUnavailable.
        """
        told = "" if healthy is None else f"?healthy={str(healthy).lower()}"
        await self._call("DELETE", f"/{lease_id}{told}", None)

    async def _call(self, method: str, path: str, body: Mapping[str, object] | None) -> dict[str, Any]:
        assert self._http is not None, "use it inside its async with block"
        try:
            async with self._http.request(method, self._url + path, json=body) as answer:
                told = await answer.json(content_type=None) if answer.status != 204 else {}
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            raise LatchkeyUnavailable(
                f"Latchkey cannot be reached ({type(exc).__name__}).", code="unavailable"
            ) from exc
        if status >= 400:
            raise _translate(status, told if isinstance(told, dict) else {})
        if not isinstance(told, dict):
            raise _nonsense("no object")
        return told


def _nonsense(what: str) -> LatchkeyUnavailable:
    return LatchkeyUnavailable(f"What answered is not Latchkey: it sent {what}.", code="unavailable")


def _translate(status: int, problem: Mapping[str, Any]) -> LatchkeyError:
    code, detail = str(problem.get("code", "")), str(problem.get("detail", f"Latchkey answered {status}."))
    match code:
        case "session_leased":
            try:
                until = datetime.fromisoformat(str(problem["expires_at"]))
                return SessionLeased(detail, holder=str(problem["holder"]), expires_at=until)
            except (KeyError, ValueError):
                return _nonsense("a lease without holder or end")
        case "session_not_active":
            return SessionNotActive(detail, code=code)
        case "lease_lost":
            return LeaseLost(detail)
        case "not_found":
            return SessionNotFound(detail, code=code)
    if status in _NOT_ALLOWED:
        return AccessDenied(detail, code=code)
    if status == 429 or status >= 500:
        return LatchkeyUnavailable(detail, code=code)
    return LatchkeyError(detail, code=code)
