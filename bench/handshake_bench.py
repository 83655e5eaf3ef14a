"""A new auth key and the introduction: the client's CPU, beside stock Telethon's, whose arithmetic is Python's own.

Each in a process of its own, forty times; medians.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from app.settings import DataCentre
from app.telegram import arithmetic
from app.telegram.connection import TelegramConnection
from app.telegram.identity import ApiIdentity
from bench.figures import Figure, at_most
from sandbox.process import RunningSandbox, start_sandbox

_HANDSHAKES = 40
_IDENTITY = ApiIdentity(api_id=12345, api_hash="0", device_model="bench", system_version="1", app_version="1")


def run() -> dict[str, Figure]:
    """All figures, by name."""
    with tempfile.TemporaryDirectory() as folder, start_sandbox(Path(folder)) as telegram:
        ours, stock = _in_a_process(telegram, "ours"), _in_a_process(telegram, "stock")
    return {"a new auth key, client": at_most(0.35, ours, "ms of CPU", peer="stock Telethon", peer_value=stock)}


def _in_a_process(telegram: RunningSandbox, whose: str) -> float:
    command = [
        sys.executable,
        "-m",
        "bench.handshake_bench",
        whose,
        str(telegram.dcs[2]),
        str(telegram.public_key_file),
    ]
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


if __name__ == "__main__":
    from telethon.crypto import rsa

    rsa.add_key(Path(sys.argv[3]).read_text(), old=False)
    if sys.argv[1] == "ours":
        arithmetic.install()
    print(asyncio.run(_connect_often(int(sys.argv[2]))))
