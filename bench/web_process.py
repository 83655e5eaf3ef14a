"""Web processes for benchmarks: gunicorn with ``deploy/gunicorn.py`` on stores of their own; and logins to look at."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from app.clock import utc_now
from app.core import Core
from app.logins.secrets import LoginToken, seal_token
from app.logins.store import advance, take
from app.redis_state import LOGIN_CHANNEL, encode_login_hint, login_qr_key
from app.settings import Settings
from app.tenants.keys import SCOPES, create_api_key
from app.tenants.store import create_tenant
from bench.stores import core_on_stores
from devstack.ports import HOST, free_port
from devstack.probes import answers_ok
from devstack.programs import Program, running

ROOT = Path(__file__).parents[1]
TENANT = "bench"
_NO_LIMIT = 100_000_000
_LIMITS = (
    "LOGIN_RATE_PER_MINUTE",
    "READ_RATE_PER_MINUTE",
    "OPEN_RATE_PER_MINUTE",
    "MAX_WAITING_LOGINS",
    "MAX_STREAMS_PER_TENANT",
    "MAX_STREAMS_PER_LOGIN",
    "MAX_STREAMS_PER_ADDRESS",
)


@dataclass(frozen=True)
class Stores:
    """PostgreSQL and Redis of a benchmark's own, a tenant and its key."""

    folder: Path
    core: Core
    settings: Settings
    api_key: str


@contextlib.contextmanager
def stores() -> Iterator[Stores]:
    """Run the stores for the length of a block; what is dispatched from here goes nowhere."""
    with core_on_stores() as (core, folder):
        create_tenant(core.transaction, actor="bench", tenant_id=TENANT, name="Bench")
        key = create_api_key(core.transaction, actor="bench", tenant_id=TENANT, scopes=SCOPES).key
        yield Stores(folder, core, core.settings, key)


@contextlib.contextmanager
def web_process(of: Stores, *, application: str = "web:create_app()") -> Iterator[tuple[int, int]]:
    """Serve an application as the web role does, for the length of a block.

    Yields:
        The port, and the process id of gunicorn's master, which has one worker.
    """
    program = web_program(of, application=application)
    assert program.environment is not None
    with running(program) as process:
        yield int(program.environment["PORT"]), process.pid


def web_program(of: Stores, *, application: str = "web:create_app()") -> Program:
    """The command of ``web_process``."""
    port, name = free_port(), application.partition(":")[0]
    return Program(
        name=name,
        command=(sys.executable, "-m", "gunicorn", "-c", str(ROOT / "deploy" / "gunicorn.py"), application),
        log=of.folder / f"{name}.log",
        folder=ROOT,
        environment=environment(
            of,
            PORT=str(port),
            WEB_CONCURRENCY="1",
            PUBLIC_URL=f"http://{HOST}:{port}",
            PROMETHEUS_MULTIPROC_DIR=str(of.folder / f"metrics-{name}"),
        ),
        ready=lambda: answers_ok(f"http://{HOST}:{port}/healthz"),
    )


def environment(of: Stores, **settings: str) -> dict[str, str]:
    """The environment of a role on these stores, in which nothing is limited."""
    assert of.settings.local_key_file is not None
    return {
        **os.environ,
        **dict.fromkeys(_LIMITS, str(_NO_LIMIT)),
        "HOST": HOST,
        "DATABASE_URL": of.settings.database_url,
        "REDIS_URL": of.settings.redis_url,
        "CELERY_BROKER_URL": "",
        "TELEGRAM_API_ID": "12345",
        "TELEGRAM_API_HASH": "0",
        "LOCAL_KEY_FILE": str(of.settings.local_key_file),
        **settings,
    }


def show_qr_code(core: Core, login_id: str) -> None:
    """Have a login wait for its scan, as a worker does it: the row, the sealed token in Redis, the hint."""
    expires_at = utc_now() + timedelta(minutes=10)
    with core.transaction() as db:
        taken = take(db, login_id=login_id, owner=core.actor)
        assert taken is not None
        epoch, tenant_id = taken.owner_epoch, taken.tenant_id
        version = advance(db, login_id=login_id, epoch=epoch, status="waiting_for_scan")
    token = LoginToken(token=os.urandom(32), expires_at=expires_at)
    sealed = seal_token(core.keyring, tenant_id=tenant_id, login_id=login_id, token=token)
    core.redis.set(login_qr_key(login_id), sealed, ex=600)
    core.redis.publish(LOGIN_CHANNEL, encode_login_hint(login_id, version))
