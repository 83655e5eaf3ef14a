"""What custody costs at 100,000 sessions: planning validations, and a lease's cycle beside a bare Redis lock's.

The lock is no lease: it opens nothing, tells no one who holds it, keeps no audit and has no fencing token. It is what one
would reach for first.
"""

from __future__ import annotations

import base64
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from redis.lock import Lock
from sqlalchemy import Select, text, update

from app.core import Core, build_core
from app.migrations import migrate
from app.models import TelegramSession, Tenant
from app.sessions.claim import Account, claim_session
from app.sessions.leases import acquire_lease, release_lease, renew_lease
from app.sessions.planning import SESSIONS_AT_ONCE, due_sessions, plan_validations
from app.sessions.retiring import idle_sessions, retire_idle_sessions
from app.settings import DataCentre, Settings
from app.telegram.identity import identity_for
from app.telegram.string_sessions import make_string_session
from devstack.files import kept_secret
from devstack.folder import remove_folder
from devstack.ports import free_port
from devstack.postgres import prepare_postgres
from devstack.programs import running
from devstack.redis import redis_program, redis_url

SESSIONS = 100_000
_CYCLES = 300
_MIB = 1024 * 1024
_TENANT = "bench"
_ROWS = """
    INSERT INTO sessions (id, tenant_id, telegram_user_id, dc_id, status, next_validation_at, last_used_at)
    SELECT 'ses_bench' || n, :tenant, n, 2, 'active', now() + n * interval '9 milliseconds', now() - interval '1 day'
    FROM generate_series(1, :sessions) AS n
"""


def run() -> dict[str, Any]:
    """All figures, by name."""
    figures: dict[str, Any] = {"sessions": SESSIONS}
    with _core() as core:
        _fill(core)
        figures |= _plans(core)
        figures |= _planning(core)
        figures |= _leases(core)
    return figures


def _plans(core: Core) -> dict[str, str]:
    """How PostgreSQL finds what is due and what is idle."""
    return {
        "due for validation, found by": _scan(core, due_sessions(limit=SESSIONS_AT_ONCE)),
        "idle, found by": _scan(core, idle_sessions(tenant_id=_TENANT, days=30)),
    }


def _planning(core: Core) -> dict[str, float]:
    nothing_due = _median_ms(lambda: plan_validations(core), 50)
    nothing_idle = _median_ms(lambda: retire_idle_sessions(core), 50)
    with core.transaction() as db:
        db.execute(update(TelegramSession).values(next_validation_at=text("now() - interval '1 minute'")))
    process, planned = psutil.Process(), 0
    began, rss_before, rss_most = time.monotonic(), process.memory_info().rss, 0
    while sent := plan_validations(core):
        planned += sent
        rss_most = max(rss_most, process.memory_info().rss)
    seconds = time.monotonic() - began
    return {
        "planning, nothing due, ms": nothing_due,
        "retiring, nothing idle, ms": nothing_idle,
        f"planning, {SESSIONS_AT_ONCE} due, ms": seconds / planned * SESSIONS_AT_ONCE * 1000,
        "planning all of them at once, sessions/s": planned / seconds,
        "planning all of them at once, MiB grown": (rss_most - rss_before) / _MIB,
    }


def _leases(core: Core) -> dict[str, float]:
    session_id = _connected(core)
    lock = Lock(core.redis, "bench-lock", timeout=60, thread_local=False)

    def lease_cycle() -> None:
        lease = acquire_lease(
            core, tenant_id=_TENANT, session_id=session_id, holder="bench", ttl_seconds=60, actor="bench"
        )
        held: dict[str, Any] = {"tenant_id": _TENANT, "session_id": session_id, "lease_id": lease.lease_id}
        renew_lease(core, **held, ttl_seconds=60, healthy=True)
        release_lease(core, **held)

    def lock_cycle() -> None:
        lock.acquire()
        lock.reacquire()
        lock.release()

    return {
        "lease: acquire, renew, release, ms": _median_ms(lease_cycle, _CYCLES),
        "bare Redis lock: the same, ms": _median_ms(lock_cycle, _CYCLES),
    }


def _connected(core: Core) -> str:
    core.keyring.fetch(None, why="to seal a session")
    with core.transaction() as db:
        return claim_session(
            db,
            core.keyring,
            tenant_id=_TENANT,
            account=Account(telegram_user_id=SESSIONS + 1, username=None, first_name=None, phone=None),
            string_session=make_string_session(auth_key=os.urandom(256), data_centre=DataCentre(2, "127.0.0.1", 4430)),
            dc_id=2,
            identity=identity_for(core.settings, {}),
            metadata={},
            validation_interval_seconds=900,
        ).session_id


def _fill(core: Core) -> None:
    with core.transaction() as db:
        db.add(Tenant(id=_TENANT, name="Bench", session_max_idle_days=30))
        db.flush()
        db.execute(text(_ROWS), {"tenant": _TENANT, "sessions": SESSIONS})
    with core.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE sessions"))


def _scan(core: Core, query: Select[Any]) -> str:
    """The indexes of the sessions that a query's plan uses, and how many rows it looked at in vain."""
    statement = query.compile(core.engine, compile_kwargs={"literal_binds": True})
    with core.engine.connect() as connection:
        answer = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}".replace("%", "%%"))
        nodes = [answer.scalar_one()[0]["Plan"]]
    used: list[str] = []
    for node in nodes:
        nodes.extend(node.get("Plans", ()))
        if node.get("Relation Name") == "sessions":
            used.append(f"{node.get('Index Name', 'no index')}, {node.get('Rows Removed by Filter', 0)} rows in vain")
    return "; ".join(used)


def _median_ms(work: Callable[[], object], times: int) -> float:
    spent: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        spent.append((time.perf_counter() - began) * 1000)
    return median(spent)


@contextlib.contextmanager
def _core() -> Iterator[Core]:
    """A process's parts on stores of their own; what is dispatched goes nowhere."""
    folder = Path(tempfile.mkdtemp(prefix="latchkey-bench-"))
    folder.chmod(0o711)
    port = free_port()
    postgres = prepare_postgres(folder, port=free_port(), log=folder / "postgres.log")
    try:
        with running(postgres.program), running(redis_program(folder, port=port, log=folder / "redis.log")):
            postgres.create_database("bench")
            key_file = folder / "key"
            kept_secret(key_file, make=lambda: base64.b64encode(os.urandom(32)).decode())
            settings = Settings(
                _env_file=None,
                database_url=postgres.url("bench"),
                redis_url=redis_url(port),
                telegram_api_id=12345,
                telegram_api_hash="0",
                local_key_file=key_file,
            )
            core = build_core(settings, role="bench", dispatch=_nowhere)
            migrate(core.engine)
            yield core
            core.engine.dispose()
            core.redis.close()
    finally:
        remove_folder(folder)


def _nowhere(task: str, *args: str, countdown_seconds: float = 0.0) -> bool:
    return bool(task or args or countdown_seconds)
