"""People in front of QR codes, over HTTP, as cheap as they can be: they share the machine with what is measured."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psutil

from devstack.running import RunningStack

_SECONDS = 60.0


class Door:
    """Calls to one server; each thread keeps its connection."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        self._host = urlsplit(url).netloc
        self._headers = {"Content-Type": "application/json"} | (headers or {})
        self._mine = threading.local()

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """The answer's status and JSON."""
        connection = self._connection()
        connection.request(method, path, None if body is None else json.dumps(body), self._headers)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content else None

    def stream(self, path: str) -> Iterator[Any]:
        """The data of each event of a stream."""
        with closing(http.client.HTTPConnection(self._host, timeout=_SECONDS)) as connection:
            connection.request("GET", path, headers=self._headers)
            for line in connection.getresponse():
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._mine, "connection"):
            self._mine.connection = http.client.HTTPConnection(self._host, timeout=_SECONDS)
        kept: http.client.HTTPConnection = self._mine.connection
        return kept


@dataclass(frozen=True)
class Journey:
    """How one login went, in seconds since its POST."""

    posted: float
    shown: float
    scanned: float
    authorized: float


class People:
    """Whoever logs in at a running stack."""

    def __init__(self, stack: RunningStack) -> None:
        description = stack.description
        self.api = Door(description["web"], {"Authorization": f"Bearer {description['api_key']}"})
        self._telegram = Door(description["sandbox"])

    def new_account(self) -> int:
        """Make an account at Telegram; its id."""
        _, account = self._telegram.call("POST", "/accounts", {})
        return int(account["id"])

    def scan(self, account: int, url: str) -> bool:
        """Scan a QR code; False: it cannot be scanned (any more)."""
        status, _ = self._telegram.call("POST", f"/accounts/{account}/scan", {"url": url})
        return status == 200

    def start(self) -> dict[str, Any]:
        """POST a login."""
        status, login = self.api.call("POST", "/v1/logins", {})
        assert status == 202, login
        return dict(login)

    def log_in(self, account: int) -> Journey:
        """POST, look at the stream, scan, wait for the end."""
        began = time.monotonic()
        login = self.start()
        posted, shown, scanned = time.monotonic() - began, 0.0, 0.0
        for seen in self.api.stream(f"/v1/logins/{login['id']}/events"):
            if seen["status"] == "waiting_for_scan" and seen["qr"] is not None and not scanned:
                shown = time.monotonic() - began
                if self.scan(account, seen["qr"]["url"]):
                    scanned = time.monotonic() - began
            if seen["status"] == "authorized":
                return Journey(posted, shown, scanned, time.monotonic() - began)
        raise AssertionError(f"login {login['id']} ended without a session")


def cpu_seconds(stack: RunningStack, *names: str) -> float:
    """What processes of a stack have used, with their children: the named ones, or all but the sandbox and what watches."""
    pids = stack.description["pids"]
    counted = names or [name for name in pids if not name.startswith(("sandbox", "flower", "exporter", "s3"))]
    return sum(_used(psutil.Process(pids[name])) for name in counted)


def _used(process: psutil.Process) -> float:
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))
