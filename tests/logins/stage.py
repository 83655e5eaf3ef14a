"""A stage for logins: real PostgreSQL, Redis and MTProto, and workers in this process whose threads the tests can watch.

Celery itself is on stage in tests/tasks; here a dispatch runs the login in a thread of a worker, as Celery's pool would.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import select, update

from app.clock import utc_now
from app.core import Core
from app.errors import Unavailable
from app.logins.endings import RunOutcome
from app.logins.log_out_key import log_out_key
from app.logins.service import Reader, read_login
from app.logins.serving import NewLogin
from app.logins.start import RUN_TASK, StartedLogin, start_login
from app.logins.view import LoginView
from app.logins.worker import LoginWorker
from app.models import LeavingAuthKey, TelegramSession
from app.settings import Settings
from app.telegram.process import start_telegram, stop_telegram
from sandbox.driver import SandboxDriver
from tests.builders import Sent, make_core
from tests.waiting import wait_until

ALICE = Reader(tenant_id="alice")


class Worker:
    """One worker process's parts, in this process."""

    def __init__(self, settings: Settings) -> None:
        self._sent = Sent()
        self.core = make_core(settings, sent=self._sent)
        self.telegram = start_telegram(settings, self.core.metrics)
        self.logins = LoginWorker(self.core, self.telegram)

    @property
    def sent(self) -> list[tuple[str, ...]]:
        """What it dispatched itself."""
        return self._sent.tasks

    def stop(self) -> None:
        """End its loop thread and close its pools."""
        self.logins.stop()
        stop_telegram(self.telegram)
        self.core.engine.dispose()


class Stage:
    """The cast's tenants, a Telegram, and one or more workers.

    Args:
        run: whether dispatched logins are run at once; False leaves them to the test.
    """

    def __init__(self, settings: Settings, telegram: SandboxDriver) -> None:
        self.settings = settings
        self.telegram = telegram
        self.run_dispatched = True
        self.takes_back = False  # whether a login that a worker hands over comes back to it
        self.sent: list[tuple[str, ...]] = []
        self.outcomes: list[RunOutcome] = []
        self.workers = [Worker(settings)]
        self._before = telegram.stats()
        self.core: Core = make_core(settings, sent=self._dispatch)  # type: ignore[arg-type]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.takes_back = False
        for worker in self.workers:
            worker.logins.drain()
        for thread in self._threads:
            thread.join(10)
        for worker in self.workers:
            worker.stop()
        self.core.engine.dispose()

    def add_worker(self) -> Worker:
        """Start another worker."""
        self.workers.append(Worker(self.settings))
        return self.workers[-1]

    def start(self, *, tenant: str = "alice", **fields: Any) -> StartedLogin:
        """POST a login."""
        return start_login(self.core, tenant_id=tenant, request=NewLogin(**fields))

    def run(self, login_id: str, *, worker: int = 0) -> threading.Thread:
        """Run a login in a thread of a worker, and again when it is handed over or put off, as its task would."""

        def work() -> None:
            while True:
                try:
                    outcome = self.workers[worker].logins.run(login_id)
                except Unavailable:
                    return
                self.outcomes.append(outcome)
                if outcome.name == "put_off":
                    time.sleep(outcome.retry_seconds)  # the countdown
                elif outcome.name != "handed_over" or not self.takes_back:
                    return

        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def login(self, login_id: str, *, tenant: str = "alice") -> LoginView:
        """GET a login."""
        return read_login(self.core, login_id=login_id, reader=Reader(tenant_id=tenant))

    def wait_for(
        self,
        login_id: str,
        status: str,
        *,
        tenant: str = "alice",
        within_seconds: float = 15.0,
        when: Callable[[LoginView], Any] | None = None,
    ) -> LoginView:
        """Wait until a login has a status (and a property)."""
        seen: list[LoginView] = []

        def look() -> bool:
            seen[:] = [self.login(login_id, tenant=tenant)]
            return seen[0].status == status and (when is None or bool(when(seen[0])))

        try:
            wait_until(look, within_seconds=within_seconds)
        except AssertionError as exc:
            raise AssertionError(f"waited for {status}, still {seen}") from exc
        return seen[0]

    def wait_for_qr(
        self, login_id: str, *, tenant: str = "alice", other_than: str | None = None, within_seconds: float = 15.0
    ) -> str:
        """Wait for a QR code and return its login URL."""
        login = self.wait_for(
            login_id,
            "waiting_for_scan",
            tenant=tenant,
            within_seconds=within_seconds,
            when=lambda each: each.qr is not None and each.qr.url != other_than,
        )
        assert login.qr is not None
        return login.qr.url

    def leaving_keys(self) -> list[LeavingAuthKey]:
        """The auth keys that logins left behind and that are still to be logged out."""
        with self.core.transaction() as db:
            return list(db.scalars(select(LeavingAuthKey).order_by(LeavingAuthKey.created_at)))

    def log_out_left_keys(self, *, worker: int = 0) -> None:
        """Have a worker log out the keys that were left behind, as if their time had come."""
        with self.core.transaction() as db:
            db.execute(update(LeavingAuthKey).values(next_try_at=utc_now()))
        parts = self.workers[worker]
        for key in self.leaving_keys():
            parts.telegram.runtime.run(log_out_key(parts.core, parts.telegram, key.id), timeout_seconds=60)

    def sessions(self, *, tenant: str = "alice") -> list[TelegramSession]:
        """The tenant's sessions, oldest first."""
        with self.core.transaction() as db:
            return list(
                db.scalars(
                    select(TelegramSession)
                    .where(TelegramSession.tenant_id == tenant)
                    .order_by(TelegramSession.created_at)
                )
            )

    def violations(self) -> dict[str, int]:
        """The rules of Telegram that were broken on this stage, by name; empty when none was."""
        now, before = self.telegram.stats()["violations"], self._before["violations"]
        return {name: count - before[name] for name, count in now.items() if count != before[name]}

    def calls(self, method: str) -> int:
        """How often a method was called on this stage."""
        return int(self.telegram.stats()["calls"].get(method, 0) - self._before["calls"].get(method, 0))

    def new(self, figure: str) -> int:
        """How much a figure of the sandbox (``auth_keys``, ``authorized_keys``, ``connections``, ``handshakes``) has grown."""
        return int(self.telegram.stats()[figure] - self._before[figure])

    def _dispatch(self, task: str, *args: str, countdown_seconds: float = 0.0) -> bool:
        self.sent.append((task, *args))
        if task == RUN_TASK and self.run_dispatched:
            self.run(args[0])
        return True
