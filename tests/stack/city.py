"""A running stack as its users and operators see it: HTTP, the sandbox's phones, processes that can be killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import redis
import requests
from sqlalchemy import Engine, create_engine, text

from devstack.running import RunningStack
from sandbox.driver import SandboxDriver
from tests.waiting import wait_until

_TIMEOUT_SECONDS = 40


class City:
    """One stack, in use."""

    def __init__(self, stack: RunningStack) -> None:
        self.stack = stack
        facts = stack.description
        self.web: str = facts["web"]
        self.telegram = SandboxDriver(facts["sandbox"])
        self.engine: Engine = create_engine(facts["database_url"])
        self.redis: redis.Redis = redis.Redis.from_url(facts["redis_url"])
        self._key: str = facts["api_key"]
        self._stats = self.telegram.stats()

    # --- the application

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Call the API with the tenant's key."""
        return requests.request(
            method,
            self.web + path,
            headers={"Authorization": f"Bearer {self._key}", **options.pop("headers", {})},
            timeout=_TIMEOUT_SECONDS,
            **options,
        )

    def answers(self) -> bool:
        """Whether the web is there."""
        try:
            return requests.get(f"{self.web}/healthz", timeout=2).ok
        except requests.RequestException:
            return False

    def start(self, **body: Any) -> dict[str, Any]:
        """POST a login."""
        answer = self.call("POST", "/v1/logins", json=body)
        assert answer.status_code == 202, answer.text
        started: dict[str, Any] = answer.json()
        return started

    def start_many(self, count: int) -> list[str]:
        """POST many logins, eight at a time; their ids."""
        with ThreadPoolExecutor(8) as pool:
            return [each["id"] for each in pool.map(lambda _: self.start(), range(count))]

    def login(self, login_id: str) -> dict[str, Any]:
        """GET a login."""
        found: dict[str, Any] = self.call("GET", f"/v1/logins/{login_id}").json()
        return found

    def wait_for(self, login_id: str, status: str, *, within_seconds: float = 30) -> dict[str, Any]:
        """Wait until a login has a status."""

        def look() -> dict[str, Any]:
            login = self.login(login_id)
            return login if login["status"] == status else {}

        return wait_until(look, within_seconds=within_seconds, every_seconds=0.05)

    def wait_for_qr(self, login_id: str, *, other_than: str | None = None, within_seconds: float = 30) -> str:
        """Wait for a login's QR code and return its login URL."""

        def look() -> str | None:
            qr = self.login(login_id).get("qr")
            return qr["url"] if qr and qr["url"] != other_than else None

        found = wait_until(look, within_seconds=within_seconds, every_seconds=0.05)
        assert isinstance(found, str)
        return found

    # --- the rows

    def statuses(self, login_ids: Sequence[str]) -> dict[str, int]:
        """How many of these logins have which status."""
        with self.engine.connect() as connection:
            found = connection.execute(
                text("SELECT status, count(*) FROM logins WHERE id = ANY(:ids) GROUP BY status"),
                {"ids": list(login_ids)},
            )
            return {status: count for status, count in found}  # noqa: C416  # rows are not pairs to dict()

    def rows(self, login_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What drives these logins, by id."""
        with self.engine.connect() as connection:
            found = connection.execute(
                text("SELECT id, status, owner, owner_epoch, auth_key_sealed FROM logins WHERE id = ANY(:ids)"),
                {"ids": list(login_ids)},
            )
            return {row.id: row._asdict() for row in found}

    # --- the processes

    def pid(self, name: str) -> int:
        """The process of a part, as it is now."""
        found: int = self.stack.description["pids"][name]
        return found

    def kill(self, name: str, how: signal.Signals) -> int:
        """Send a signal to a part; its pid."""
        pid = self.pid(name)
        os.kill(pid, how)
        return pid

    @staticmethod
    def gone(pid: int) -> bool:
        """Whether a process has ended."""
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    # --- Telegram

    def new(self, figure: str) -> int:
        """How much a figure of the sandbox has grown since this city was entered."""
        return int(self.telegram.stats()[figure] - self._stats[figure])

    def violations(self) -> dict[str, int]:
        """The rules of Telegram that were broken since, by name; empty when none was."""
        now, before = self.telegram.stats()["violations"], self._stats["violations"]
        return {name: count - before[name] for name, count in now.items() if count != before[name]}
