"""Ten thousand people in front of QR codes: two login workers, and everything else, the sandbox too, on the same two cores.

Every login holds a connection and a thread of its worker. QR codes are renewed as their tokens expire; then 500 phones scan
within ten seconds. Beside it, what a Celery user would write first: one login per prefork worker process. ``WAITING_LOGINS``
asks for another number.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
from sqlalchemy import Engine, create_engine, text

from bench.figures import Figure, at_least, at_most, only_told, p95
from bench.people import People
from bench.throughput_bench import ANY_NUMBER
from devstack.ports import free_port
from devstack.programs import running
from devstack.redis import redis_program, redis_url
from devstack.running import RunningStack, running_stack
from sandbox.process import start_sandbox

WAITING = int(os.environ.get("WAITING_LOGINS", "10000"))
_SCANNED, _SCAN_SECONDS = 500, 10.0
_POSTING = 16
_FILL_SECONDS = 480.0
_WATCH_SECONDS = 40.0  # longer than any token lives
_LATE_SECONDS = 2.0  # from a token's end to the next one: asked a quarter of a second later, and answered
_WORKERS = 2
_PREFORK = 8


def run() -> dict[str, Figure]:
    """All figures, by name."""
    with tempfile.TemporaryDirectory(prefix="latchkey-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        prefork_kib = _prefork_kib(folder / "prefork")
        settings = ANY_NUMBER | {"LOGIN_THREADS": str(WAITING), "QR_TTL_SECONDS": "3600"}
        without = ("flower", "exporter", "s3")
        with running_stack(folder, without=without, settings=settings, login_workers=_WORKERS) as stack:
            engine = create_engine(stack.description["database_url"])
            try:
                return _measure(stack, engine, prefork_kib)
            finally:
                engine.dispose()


def _measure(stack: RunningStack, engine: Engine, prefork_kib: float) -> dict[str, Figure]:
    people = People(stack)
    people.log_in(people.new_account())
    pids = stack.description["pids"]
    workers = [psutil.Process(pids[f"worker-logins-{number + 1}"]) for number in range(_WORKERS)]
    sandbox = [psutil.Process(pids["sandbox"])]
    idle_bytes, began = _memory(workers), time.monotonic()
    with ThreadPoolExecutor(_POSTING) as pool:
        logins = list(pool.map(lambda _: people.start(), range(WAITING)))
    _wait_until(engine, "waiting_for_scan", WAITING, seconds=_FILL_SECONDS)
    filled = time.monotonic() - began
    time.sleep(5.0)
    before, sandbox_before, began = _cpu(workers), _cpu(sandbox), time.monotonic()
    late = _watch_renewals(engine)
    lasted = time.monotonic() - began
    kib = (_memory(workers) - idle_bytes) / WAITING / 1024
    shares = [(_cpu(workers) - before) / lasted, (_cpu(sandbox) - sandbox_before) / lasted]
    taken = _scan(people, engine, [login["id"] for login in logins[:: max(1, WAITING // _SCANNED)][:_SCANNED]])
    return {
        "logins waiting at once": only_told(WAITING, "logins"),
        "worker memory of a waiting login": at_most(
            100.0, kib, "KiB", peer="one login per prefork worker process", peer_value=prefork_kib, of="value"
        ),
        "both workers, shares of a core while they wait": only_told(shares[0], "cores"),
        "the sandbox's share meanwhile": only_told(shares[1], "cores"),
        f"QR codes renewed more than {_LATE_SECONDS:g} s late": at_most(0.0, late, "codes"),
        "until all were on show": only_told(filled, "s"),
        "authorized of those scanned": at_least(_SCANNED, len(taken), "logins"),
        "scan to authorized with all waiting, p95": at_most(1.5, p95(taken), "s"),
    }


def _watch_renewals(engine: Engine) -> int:
    """How many QR codes were ever seen that had run out long ago."""
    query = text(
        "SELECT id FROM logins WHERE status = 'waiting_for_scan' AND qr_expires_at < now() - :late * interval '1 second'"
    )
    late: set[str] = set()
    give_up_at = time.monotonic() + _WATCH_SECONDS
    while time.monotonic() < give_up_at:
        with engine.connect() as connection:
            late.update(connection.scalars(query, {"late": _LATE_SECONDS}))
        time.sleep(1.0)
    return len(late)


def _scan(people: People, engine: Engine, login_ids: list[str]) -> list[float]:
    """Scan them, evenly over ten seconds; how long each took from its scan until its row was final."""
    accounts = [people.new_account() for _ in login_ids]
    scanned_at: dict[str, float] = {}
    began = time.monotonic()

    def one(number: int) -> None:
        time.sleep(max(0.0, began + number * _SCAN_SECONDS / len(login_ids) - time.monotonic()))
        for _ in range(20):
            _, login = people.api.call("GET", f"/v1/logins/{login_ids[number]}")
            if login["qr"] is not None:
                at = time.time()
                if people.scan(accounts[number], login["qr"]["url"]):
                    scanned_at[login["id"]] = at
                    return
            time.sleep(0.2)  # it had just run out

    with ThreadPoolExecutor(_POSTING) as pool:
        list(pool.map(one, range(len(login_ids))))
    _wait_until(engine, "authorized", len(scanned_at) + 1, seconds=60.0)
    query = text(
        "SELECT id, extract(epoch FROM finished_at) FROM logins WHERE status = 'authorized' AND id = ANY(:ids)"
    )
    with engine.connect() as connection:
        return [
            float(at) - scanned_at[login_id] for login_id, at in connection.execute(query, {"ids": list(scanned_at)})
        ]


def _wait_until(engine: Engine, status: str, number: int, *, seconds: float) -> None:
    query = text("SELECT count(*) FROM logins WHERE status = :status")
    give_up_at = time.monotonic() + seconds
    while True:
        with engine.connect() as connection:
            have = connection.scalar(query, {"status": status}) or 0
        if have >= number:
            return
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{have} of {number} logins are {status} after {seconds:.0f} s")
        time.sleep(0.5)


def _cpu(processes: list[psutil.Process]) -> float:
    return float(sum(sum(process.cpu_times()[:2]) for process in processes))


def _memory(processes: list[psutil.Process]) -> int:
    return sum(process.memory_info().rss for process in processes)


# --- one login per prefork worker process


def _prefork_kib(folder: Path) -> float:
    """What each waiting login costs there: a process's own memory, shared pages in shares."""
    with ExitStack() as stack:
        folder.mkdir()
        port = free_port()
        stack.enter_context(running(redis_program(folder / "redis", port=port, log=folder / "redis.log")))
        telegram = stack.enter_context(start_sandbox(folder / "sandbox"))
        environment = os.environ | {
            "PREFORK_BROKER": redis_url(port),
            "PREFORK_PORT": str(telegram.dcs[2]),
            "PREFORK_KEY": str(telegram.public_key_file),
        }
        worker = stack.enter_context(_prefork_worker(folder, environment))
        command = [sys.executable, "-m", "bench.prefork", str(_PREFORK)]
        subprocess.run(command, env=environment, check=True, timeout=60)
        give_up_at = time.monotonic() + 60
        while len(telegram.driver.login_tokens()) < _PREFORK:
            if time.monotonic() > give_up_at:
                raise TimeoutError("the prefork worker shows no QR codes")
            time.sleep(0.2)
        children = psutil.Process(worker.pid).children()
        pss = [child.memory_full_info().pss for child in children]
        worker.kill()
    return sum(sorted(pss)[-_PREFORK:]) / _PREFORK / 1024


def _prefork_worker(folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "celery", "-A", "bench.prefork", "worker", "-c", str(_PREFORK), "-l", "ERROR"]
    with (folder / "prefork.log").open("wb") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)
