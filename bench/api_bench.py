"""What a call costs: reading a login beside an empty Flask view on the same server, starting one, and a lease's three calls.

Both servers are gunicorn with `deploy/gunicorn.py` and one process. They are asked in turn by sixteen connections, each as fast
as it is answered, for logins that wait for their scan and show a QR code, as a page that polls does. The other figures are of
one connection. What a read takes: the key, both limits, the row, the sealed token in Redis, a line of the log, the counters. As
a plain poll it is answered before Flask sees it (`web/polls.py`), which the empty view is not. What is asked for at the same
moment is asked of the stores together (by all sixteen, mostly), so that under load a read costs less than alone.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from statistics import median
from typing import Any

import psutil
from redis.lock import Lock

from app.core import Core
from app.sessions.claim import Account, claim_session
from app.settings import DataCentre
from app.telegram.identity import identity_for
from app.telegram.string_sessions import make_string_session
from bench.figures import Figure, at_least, at_most, only_told
from bench.http_load import Connection, Load, keep_asking, request_bytes
from bench.web_process import TENANT, Stores, show_qr_code, stores, web_process

_RUNS = 5
_SECONDS = 3.0
_CONNECTIONS = 16
_LOGINS = 32
_CYCLES = 200
_STARTS = 200


def run() -> dict[str, Figure]:
    """All figures, by name."""
    with stores() as of, web_process(of) as ours, web_process(of, application="bench.empty_view:app") as empty:
        return asyncio.run(_measure(of, *ours, *empty))


async def _measure(of: Stores, port: int, pid: int, empty_port: int, empty_pid: int) -> dict[str, Figure]:
    key = {"Authorization": f"Bearer {of.api_key}"}
    caller = await Connection.open(port)
    start = request_bytes("POST", "/v1/logins", headers=key, members={})
    logins = [await caller.ask_members(start, 202) for _ in range(_LOGINS)]
    for login in logins:
        show_qr_code(of.core, login["id"])
    reads = itertools.cycle([request_bytes("GET", f"/v1/logins/{login['id']}", headers=key) for login in logins])
    nothing = itertools.cycle([request_bytes("GET", "/")])
    starts = [await _seconds(caller.ask_members(start, 202)) for _ in range(_STARTS)]
    alone = [await _seconds(caller.ask_members(next(reads), 200)) for _ in range(_STARTS)]
    path = f"/v1/sessions/{_connected(of.core)}/lease"
    leases = [await _seconds(_lease(caller, path, key)) for _ in range(_CYCLES)]
    locks = [_lock(of.core) for _ in range(_CYCLES)]
    ours, theirs = [], []
    for _ in range(_RUNS):
        theirs.append(await _loaded(empty_port, empty_pid, nothing))
        ours.append(await _loaded(port, pid, reads))
    return {
        "GET /v1/logins/{id}, requests": at_least(
            0.6,
            median(load.per_second for load, _ in ours),
            "1/s",
            peer="an empty Flask view",
            peer_value=median(load.per_second for load, _ in theirs),
        ),
        "GET /v1/logins/{id}, CPU of the web process": only_told(
            median(cpu for _, cpu in ours) * 1000,
            "ms",
            peer="an empty Flask view",
            peer_value=median(cpu for _, cpu in theirs) * 1000,
        ),
        "GET /v1/logins/{id}, alone, p50": only_told(median(alone) * 1000, "ms"),
        "POST /v1/logins, p50": at_most(15, median(starts) * 1000, "ms"),
        "lease acquired, renewed and released over HTTP, p50": at_most(
            8,
            median(leases) * 1000,
            "ms",
            peer="a bare Redis lock: the same",
            peer_value=median(locks) * 1000,
            of="value",
        ),
    }


async def _loaded(port: int, pid: int, requests: itertools.cycle[bytes]) -> tuple[Load, float]:
    """What came of a load, and the CPU seconds of the server for each answer."""
    server = psutil.Process(pid).children()[0]
    before = _cpu_seconds(server)
    load = await keep_asking(port, lambda: next(requests), expected=200, seconds=_SECONDS, connections=_CONNECTIONS)
    return load, (_cpu_seconds(server) - before) / len(load.spent)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _lease(caller: Connection, path: str, key: dict[str, str]) -> None:
    holder: dict[str, object] = {"holder": "bench", "ttl_seconds": 60}
    lease = await caller.ask_members(request_bytes("POST", path, headers=key, members=holder), 201)
    held = f"{path}/{lease['lease_id']}"
    await caller.ask_members(request_bytes("PUT", held, headers=key, members={"ttl_seconds": 60}), 200)
    await caller.ask_members(request_bytes("DELETE", held, headers=key), 204)


def _lock(core: Core) -> float:
    lock, began = Lock(core.redis, "bench-lock", timeout=60, thread_local=False), time.perf_counter()
    lock.acquire()
    lock.reacquire()
    lock.release()
    return time.perf_counter() - began


async def _seconds(work: Any) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


def _connected(core: Core) -> str:
    core.keyring.fetch(None, why="to seal a session")
    with core.transaction() as db:
        return claim_session(
            db,
            core.keyring,
            tenant_id=TENANT,
            account=Account(telegram_user_id=1, username=None, first_name=None, phone=None),
            string_session=make_string_session(auth_key=os.urandom(256), data_centre=DataCentre(2, "127.0.0.1", 4430)),
            dc_id=2,
            identity=identity_for(core.settings, {}),
            metadata={},
            validation_interval_seconds=900,
        ).session_id
