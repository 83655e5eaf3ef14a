"""A caller of Latchkey's HTTP API, and the phone that the sandbox keeps for a person.

Knows the contract's shapes and nothing behind them: what it does, any application could.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

_TIMEOUT = (5.0, 40.0)  # connect, read: longer than a long poll and than the silence between two stream comments
_FINAL = frozenset({"authorized", "expired", "failed", "cancelled"})


class CallFailed(Exception):
    """Raised when a call was refused or not answered; says which and why."""


class Api:
    """One tenant's access to Latchkey."""

    def __init__(self, url: str, *, api_key: str) -> None:
        self.url = url
        self._http = requests.Session()
        self._http.headers["Authorization"] = f"Bearer {api_key}"

    def start_login(self, **fields: object) -> dict[str, Any]:
        """POST a login."""
        return self._call("POST", "/v1/logins", json=fields)

    def send_password(self, login_id: str, password: str) -> None:
        """POST the 2FA password of a login that waits for it."""
        self._call("POST", f"/v1/logins/{login_id}/password", json={"password": password})

    def session(self, session_id: str) -> dict[str, Any]:
        """GET a session."""
        return self._call("GET", f"/v1/sessions/{session_id}")

    def follow(self, login_id: str) -> Iterator[dict[str, Any]]:
        """Yield a login's states as they come, until a final one: by its event stream, or by long polls without it."""
        version = 0
        try:
            for login in self._stream(login_id):
                version = login["version"]
                yield login
                if login["status"] in _FINAL:
                    return
        except requests.RequestException:
            pass  # a proxy that buffers or cuts streams: poll from where the stream ended
        while True:
            login = self._call("GET", f"/v1/logins/{login_id}", params={"wait": 30, "version": version})
            if login["version"] > version:
                version = login["version"]
                yield login
            if login["status"] in _FINAL:
                return

    def _stream(self, login_id: str) -> Iterator[dict[str, Any]]:
        address = f"{self.url}/v1/logins/{login_id}/events"
        with self._http.get(address, stream=True, timeout=_TIMEOUT, headers={"Accept": "text/event-stream"}) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines(chunk_size=1):  # byte by byte: an event must not wait for the next one
                if line.startswith(b"data:"):
                    yield json.loads(line.removeprefix(b"data:"))

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        return _answer(self._http, method, self.url + path, **options)


@dataclass(frozen=True)
class Phone:
    """A person's phone, on which Telegram is logged in."""

    sandbox: str
    user_id: int

    @classmethod
    def of_new_account(cls, sandbox: str, account: Mapping[str, object]) -> Phone:
        """Make an account in the sandbox."""
        made = _answer(requests.Session(), "POST", f"{sandbox}/accounts", json=dict(account))
        return cls(sandbox=sandbox, user_id=made["id"])

    def scan(self, url: str) -> None:
        """Point the camera at a QR code that holds this URL, and confirm."""
        _answer(requests.Session(), "POST", f"{self.sandbox}/accounts/{self.user_id}/scan", json={"url": url})


def _answer(http: requests.Session, method: str, url: str, **options: Any) -> dict[str, Any]:
    path = urlsplit(url).path
    try:
        answer = http.request(method, url, timeout=_TIMEOUT, **options)
    except requests.RequestException as exc:
        raise CallFailed(f"{method} {path} was not answered ({type(exc).__name__})") from exc
    if not answer.ok:
        raise CallFailed(f"{method} {path} was refused with {answer.status_code}: {answer.text[:200].strip()}")
    found: dict[str, Any] = answer.json()
    return found
