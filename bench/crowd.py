"""A crowd in front of QR codes: one stock Celery worker, real stores, the sandbox as Telegram; what they cost is read off.

For benchmarks and for the load test. Everything is on loopback, bounded, and ended with the block.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import func, select

from app.core import Core, build_core
from app.dispatch import make_dispatch, make_producer
from app.logins.service import Reader, read_login
from app.logins.serving import NewLogin
from app.logins.start import start_login
from app.migrations import migrate
from app.models import Login, Tenant
from app.settings import Settings
from devstack.files import kept_secret
from devstack.ports import accepts, free_port
from devstack.postgres import prepare_postgres, remove_postgres
from devstack.programs import Program, running
from devstack.redis import redis_program, redis_url
from devstack.roles import ROOT
from sandbox.driver import SandboxRefusedError
from sandbox.process import RunningSandbox, start_sandbox

TENANT = "crowd"
_READER = Reader(tenant_id=TENANT)


@dataclass(frozen=True)
class Use:
    """What a process used over a while."""

    rss_bytes: int
    cpu_share: float


@dataclass(frozen=True)
class Crowd:
    """One worker, and the people whom it shows QR codes."""

    core: Core
    sandbox: RunningSandbox
    worker: psutil.Process
    folder: Path
    settings: dict[str, str]

    @contextlib.contextmanager
    def another_worker(self, *, queues: str, threads: int) -> Iterator[psutil.Process]:
        """One more worker, for the length of the block."""
        program = _worker(self.folder, self.settings, queues=queues, threads=threads)
        with running(program) as process:
            yield psutil.Process(process.pid)

    def gather(self, count: int) -> list[str]:
        """POST that many logins; their ids."""
        with ThreadPoolExecutor(4) as pool:
            return list(
                pool.map(lambda _: start_login(self.core, tenant_id=TENANT, request=NewLogin()).login.id, range(count))
            )

    def count(self, status: str) -> int:
        """How many logins have a status."""
        with self.core.transaction() as db:
            return db.scalar(select(func.count()).select_from(Login).where(Login.status == status)) or 0

    def wait_until_all(self, status: str, count: int, *, within_seconds: float) -> float:
        """Wait until that many logins have a status; the seconds it took.

        Raises:
            TimeoutError: they have not in time; says how many do.
        """
        began = time.monotonic()
        while (have := self.count(status)) < count:
            if time.monotonic() - began > within_seconds:
                raise TimeoutError(f"{have} of {count} logins are {status} after {within_seconds:.0f} s")
            time.sleep(0.1)
        return time.monotonic() - began

    def queued(self) -> int:
        """How many messages wait for a worker."""
        length = self.core.redis.llen("logins")
        assert isinstance(length, int)
        return length

    def latest_renewal(self) -> list[datetime]:
        """Until when each QR code that is on show may be scanned."""
        with self.core.transaction() as db:
            return [
                at for at in db.scalars(select(Login.qr_expires_at).where(Login.status == "waiting_for_scan")) if at
            ]

    def scan(self, login_ids: list[str]) -> None:
        """Let as many phones scan these QR codes, all at once."""

        def one(login_id: str) -> None:
            account = self.sandbox.driver.create_account()
            give_up_at = time.monotonic() + 15.0
            while True:
                qr = read_login(self.core, login_id=login_id, reader=_READER).qr
                try:
                    if qr is not None:
                        self.sandbox.driver.scan(account["id"], qr.url)
                        return
                except SandboxRefusedError as exc:
                    # It ran out under the camera: a person points at the next one.
                    if exc.error != "AUTH_TOKEN_EXPIRED":
                        raise
                if time.monotonic() > give_up_at:
                    raise TimeoutError(f"login {login_id} shows no QR code that can be scanned")
                time.sleep(0.1)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(one, login_ids))

    def use_over(self, seconds: float) -> Use:
        """What the worker uses while nothing but waiting goes on."""
        before, began = sum(self.worker.cpu_times()[:2]), time.monotonic()
        time.sleep(seconds)
        spent = sum(self.worker.cpu_times()[:2]) - before
        return Use(rss_bytes=self.worker.memory_info().rss, cpu_share=spent / (time.monotonic() - began))

    def cpu_seconds(self) -> float:
        """What the worker has used since it started."""
        return float(sum(self.worker.cpu_times()[:2]))


@contextlib.contextmanager
def crowd(*, threads: int, environment: dict[str, str] | None = None, **sandbox: Any) -> Iterator[Crowd]:
    """Start stores, sandbox and one login worker for the length of the block.

    Args:
        threads: of the worker: how many logins it can hold.
        environment: more settings for the worker.
        sandbox: options of the sandbox.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="latchkey-crowd-"))
        folder.chmod(0o711)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(remove_postgres, folder)
        server = prepare_postgres(folder, port=free_port(), log=folder / "postgres.log")
        stack.enter_context(running(server.program))
        server.create_database("latchkey")
        redis_port = free_port()
        stack.enter_context(running(redis_program(folder / "redis", port=redis_port, log=folder / "redis.log")))
        telegram = stack.enter_context(start_sandbox(folder, **sandbox))
        key_file = folder / "local.key"
        kept_secret(key_file, make=lambda: base64.b64encode(os.urandom(32)).decode())
        settings = {
            "DATABASE_URL": server.url("latchkey"),
            "REDIS_URL": redis_url(redis_port),
            "TELEGRAM_API_ID": "12345",
            "TELEGRAM_API_HASH": "0123456789abcdef0123456789abcdef",
            "TELEGRAM_DC_ADDRESS": f"2:127.0.0.1:{telegram.dcs[2]}",
            "TELEGRAM_PUBLIC_KEY_FILE": str(telegram.public_key_file),
            "LOCAL_KEY_FILE": str(key_file),
            "MAX_WAITING_LOGINS": "20000",
            **(environment or {}),
        }
        core = _build(settings)
        stack.callback(core.engine.dispose)
        worker = stack.enter_context(running(_worker(folder, settings, queues="logins", threads=threads)))
        process = psutil.Process(worker.pid)
        yield Crowd(core=core, sandbox=telegram, worker=process, folder=folder, settings=settings)


def _build(given: dict[str, str]) -> Core:
    settings = Settings.model_validate({name.lower(): value for name, value in given.items()})
    core = build_core(settings, role="crowd", dispatch=make_dispatch(make_producer(settings)))
    migrate(core.engine)
    with core.transaction() as db:
        db.add(Tenant(id=TENANT, name="A crowd"))
    return core


def _worker(folder: Path, settings: dict[str, str], *, queues: str, threads: int) -> Program:
    """The stock worker of production, on a port that says when it is ready."""
    port = free_port()
    return Program(
        name=f"worker-{port}",
        command=(
            *(sys.executable, "-m", "celery", "-A", "tasks", "worker", "-Q", queues, "-P", "threads"),
            *("-c", str(threads), "-n", f"worker-{port}@%h", "--without-mingle", "--without-gossip"),
        ),
        environment={"PATH": os.environ["PATH"], "HOME": str(folder), **settings, "METRICS_PORT": str(port)},
        folder=ROOT,
        log=folder / f"worker-{port}.log",
        ready=lambda: accepts(port),
        stop_seconds=60.0,
    )
