"""What logins cost: the handshake against stock Telethon's, and a worker idle and with 500 people waiting."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from sqlalchemy import select

from app.models import Login
from app.settings import DataCentre
from app.telegram import arithmetic
from app.telegram.connection import TelegramConnection
from app.telegram.identity import ApiIdentity
from bench.crowd import Crowd, crowd, p50_and_p95
from sandbox.process import RunningSandbox, start_sandbox

WAITING = 500
SCANNED = 100
_HANDSHAKES = 40
_REST_SECONDS = 20.0
_MIB = 1024 * 1024
_IDENTITY = ApiIdentity(api_id=12345, api_hash="0", device_model="bench", system_version="1", app_version="1")


def run() -> dict[str, Any]:
    """All figures, by name."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, start_sandbox(Path(folder)) as telegram:
        ours, theirs, server = _handshakes(telegram)
    figures["handshake, client CPU ms, ours"] = ours
    figures["handshake, client CPU ms, stock Telethon"] = theirs
    figures["handshake, sandbox CPU ms"] = server
    with crowd(threads=1000) as people:
        figures |= _crowd_figures(people)
    return figures


def _handshakes(telegram: RunningSandbox) -> tuple[float, float, float]:
    """Median CPU of a connect with a new key: ours, stock Telethon's (each in a process of its own), and the sandbox's."""
    process = psutil.Process(telegram.pid)
    before = sum(process.cpu_times()[:2])
    ours = _in_a_process(telegram, "ours")
    server = (sum(process.cpu_times()[:2]) - before) / _HANDSHAKES * 1000
    return ours, _in_a_process(telegram, "stock"), server


def _in_a_process(telegram: RunningSandbox, whose: str) -> float:
    command = [sys.executable, "-m", "bench.logins_bench", whose, str(telegram.dcs[2]), str(telegram.public_key_file)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


async def _connect_often(port: int) -> float:
    spent: list[float] = []
    for _ in range(_HANDSHAKES):
        connection = TelegramConnection(
            identity=_IDENTITY,
            data_centre=DataCentre(2, "127.0.0.1", port),
            auth_key=None,
            handshakes=asyncio.Semaphore(1),
        )
        began = time.process_time()
        await connection.open()
        spent.append((time.process_time() - began) * 1000)
        await connection.close()
    return median(spent)


def _crowd_figures(people: Crowd) -> dict[str, Any]:
    idle = people.use_over(3.0)
    began = time.monotonic()
    login_ids = people.gather(WAITING)
    people.wait_until_all("waiting_for_scan", WAITING, within_seconds=300)
    all_shown = time.monotonic() - began
    waiting = people.use_over(_REST_SECONDS)
    people.scan(login_ids[:SCANNED])
    people.wait_until_all("authorized", SCANNED, within_seconds=120)
    with people.core.transaction() as db:
        rows = db.execute(select(Login.created_at, Login.published_at)).all()
    first_qr = p50_and_p95([(published - created).total_seconds() for created, published in rows if published])
    return {
        "worker idle, RSS MiB": idle.rss_bytes / _MIB,
        f"worker with {WAITING} waiting, RSS MiB": waiting.rss_bytes / _MIB,
        "a waiting login, KiB": (waiting.rss_bytes - idle.rss_bytes) / WAITING / 1024,
        f"worker with {WAITING} waiting, share of a core": waiting.cpu_share,
        f"{WAITING} POSTs to all QR codes on show, s": all_shown,
        f"POST to QR code with {WAITING} at once, p50 s": first_qr[0],
        f"POST to QR code with {WAITING} at once, p95 s": first_qr[1],
        "logins authorized of those scanned": people.count("authorized"),
    }


if __name__ == "__main__":
    from telethon.crypto import rsa

    rsa.add_key(Path(sys.argv[3]).read_text(), old=False)
    if sys.argv[1] == "ours":
        arithmetic.install()
    print(asyncio.run(_connect_often(int(sys.argv[2]))))
