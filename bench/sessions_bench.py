"""Sessions by the million: planning a batch of validations, of one tenant and of a thousand; a lease beside a bare Redis lock.

A million rows unless `SESSIONS_BENCH_SESSIONS` says otherwise, all of them due. The lock is no lease: it opens nothing, tells
no one who holds it, keeps no audit and has no fencing token. It is what one would reach for first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import psutil
from redis.lock import Lock
from sqlalchemy import text

from app.core import Core
from app.models import Tenant
from app.sessions.claim import Account, claim_session
from app.sessions.leases import acquire_lease, release_lease, renew_lease
from app.sessions.planning import BATCH_SESSIONS, plan_batch
from app.sessions.retiring import retire_idle_sessions
from app.settings import DataCentre
from app.telegram.identity import identity_for
from app.telegram.string_sessions import make_string_session
from bench.figures import Figure, at_most, only_told
from bench.stores import core_on_stores

SESSIONS = int(os.environ.get("SESSIONS_BENCH_SESSIONS", "1000000"))
_CYCLES = 300
_PLANS = 100
_MANY_TENANTS = 1000
_MIB = 1024 * 1024
_TENANT = "bench"
_ROWS = """
    INSERT INTO sessions (id, tenant_id, telegram_user_id, dc_id, status, next_validation_at, last_used_at)
    SELECT 'ses_bench' || n, :tenant, n, 2, 'active', now() - interval '1 hour' + n * interval '1 millisecond',
           now() - interval '1 day'
    FROM generate_series(1, :sessions) AS n
"""
_MANY = "INSERT INTO tenants (id, name) SELECT 'bench-' || n, 'Bench ' || n FROM generate_series(0, :last) AS n"
_SPREAD = "UPDATE sessions SET tenant_id = 'bench-' || (telegram_user_id % :tenants) WHERE telegram_user_id <= :some"


def run() -> dict[str, Figure]:
    """All figures, by name."""
    with core_on_stores() as (core, _):
        figures = _leases(core)
        _fill(core)
        figures |= _planning(core, f"{SESSIONS:,} sessions of one tenant")
        idle = _median_ms(lambda: retire_idle_sessions(core), 20)
        figures[f"looking for idle ones among {SESSIONS:,} sessions, none is"] = only_told(idle, "ms")
        _spread(core)
        figures |= _planning(core, f"{SESSIONS:,} sessions, {_MANY_TENANTS:,} tenants")
    return figures


def _planning(core: Core, among: str) -> dict[str, Figure]:
    for _ in range(5):
        plan_batch(core)
    before = psutil.Process().memory_info().rss
    spent = _median_ms(lambda: _plan_one(core), _PLANS)
    grown = (psutil.Process().memory_info().rss - before) / _MIB
    return {
        f"planning {BATCH_SESSIONS} validations among {among}": at_most(10, spent, "ms"),
        f"planning among {among}: memory grew": at_most(8, grown, "MiB"),
    }


def _plan_one(core: Core) -> None:
    if len(plan_batch(core)[1]) != BATCH_SESSIONS:
        raise RuntimeError("fewer sessions are due than a batch holds")


def _spread(core: Core) -> None:
    """Give a tenth of the sessions to many tenants, so that all of them have some that are due."""
    with core.transaction() as db:
        db.execute(text(_MANY), {"last": _MANY_TENANTS - 1})
        db.execute(text(_SPREAD), {"tenants": _MANY_TENANTS, "some": SESSIONS // 10})
    _vacuum(core)


def _leases(core: Core) -> dict[str, Figure]:
    with core.transaction() as db:
        db.add(Tenant(id=_TENANT, name="Bench", session_max_idle_days=30))
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
        "a lease acquired, renewed and released": at_most(
            8,
            _median_ms(lease_cycle, _CYCLES),
            "ms",
            peer="a bare Redis lock",
            peer_value=_median_ms(lock_cycle, _CYCLES),
            of="value",
        )
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
        db.execute(text("SET LOCAL statement_timeout = 0"))
        db.execute(text(_ROWS), {"tenant": _TENANT, "sessions": SESSIONS})
    _vacuum(core)


def _vacuum(core: Core) -> None:
    with core.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE sessions"))
        connection.execute(text("RESET statement_timeout"))


def _median_ms(work: Callable[[], object], times: int) -> float:
    spent: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        spent.append((time.perf_counter() - began) * 1000)
    return median(spent)
