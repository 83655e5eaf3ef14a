"""Event streams: thousands of viewers of one web process, what each costs, when all have seen a change, and what others notice.

The viewers are bare sockets in a process of their own, and all of them view the same login. A change is a row, a sealed token
and a hint, as a worker writes them; it is seen when the last viewer has read the event off its socket. Another caller reads a
login up to a hundred times a second, before there are viewers, and with all of them there. What bounds it is Python: a woken
greenlet, a chunk and a write for each viewer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import median
from typing import IO

import psutil

from bench.figures import Figure, at_most, only_told, p95
from bench.http_load import Connection, request_bytes
from bench.web_process import Stores, show_qr_code, stores, web_process
from devstack.ports import HOST

VIEWERS = 5_000
_OTHERS_SECONDS = 8.0
_OTHERS_PAUSE_SECONDS = 0.01
_AT_ONCE = 100
_RUNS = 3
_SETTLE_SECONDS = 3.0
_FILES = VIEWERS * 2 + 1_000


def run() -> dict[str, Figure]:
    """All figures, by name."""
    allow_files()
    with stores() as of, web_process(of) as (port, pid):
        return asyncio.run(_measure(of, port, psutil.Process(pid).children()[0]))


def allow_files() -> None:
    """Let this process and its children open enough sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (_FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard), hard)
        )


async def _measure(of: Stores, port: int, web: psutil.Process) -> dict[str, Figure]:
    key = {"Authorization": f"Bearer {of.api_key}"}
    caller = await Connection.open(port)
    post = request_bytes("POST", "/v1/logins", headers=key, members={})
    watched, other = [await caller.ask_members(post, 202) for _ in range(2)]
    read = request_bytes("GET", f"/v1/logins/{other['id']}", headers=key)
    alone = await _latencies(caller, read)
    rss = web.memory_info().rss
    with _viewers(port, watched["id"], watched["client_secret"]) as viewers:
        await asyncio.to_thread(viewers.told)  # all are there
        await asyncio.sleep(_SETTLE_SECONDS)
        kib = (web.memory_info().rss - rss) / VIEWERS / 1024
        beside = await _latencies(caller, read)
        cpu = web.cpu_percent(interval=None) or web.cpu_percent(interval=4.0)
        seen = [await asyncio.to_thread(_all_see, of, viewers, watched["id"]) for _ in range(_RUNS)]
    return {
        f"memory of a viewer, {VIEWERS:,} on one process": at_most(60, kib, "KiB"),
        "a change, until all viewers have it": at_most(1.0, median(seen), "s"),
        "another's read, p95 beside the viewers": at_most(
            1.5, p95(beside) * 1000, "ms", peer="without viewers", peer_value=p95(alone) * 1000
        ),
        "CPU of the web process while nothing changes": only_told(cpu, "% of a core"),
    }


async def _latencies(caller: Connection, read: bytes) -> list[float]:
    spent, end = [], time.monotonic() + _OTHERS_SECONDS
    while time.monotonic() < end:
        began = time.perf_counter()
        await caller.ask_members(read, 200)
        spent.append(time.perf_counter() - began)
        await asyncio.sleep(_OTHERS_PAUSE_SECONDS)
    return spent


def _all_see(of: Stores, viewers: Viewers, login_id: str) -> float:
    """Seconds from before a change is written until the last viewer has it."""
    viewers.say("watch")
    began = time.time()
    show_qr_code(of.core, login_id)
    return float(viewers.told()) - began


class Viewers:
    """The viewers' process, on a line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in: IO[str] = process.stdin
        self._out: IO[str] = process.stdout

    def say(self, word: str) -> None:
        """Send a line."""
        self._in.write(f"{word}\n")
        self._in.flush()

    def told(self) -> str:
        """Wait for its next line."""
        line = self._out.readline()
        assert line, "the viewers have gone"
        return line.strip()


@contextlib.contextmanager
def _viewers(port: int, login_id: str, client_secret: str) -> Iterator[Viewers]:
    command = [sys.executable, "-m", "bench.streams_bench", str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        viewers = Viewers(process)
        try:
            viewers.say(json.dumps([login_id, client_secret]))
            yield viewers
        finally:
            process.kill()


async def _view(port: int, login_id: str, client_secret: str) -> None:
    """Open all streams; for each line that is read, say when all have had another event."""
    events = asyncio.Queue[float]()
    turn = asyncio.Semaphore(_AT_ONCE)

    request = request_bytes("GET", f"/v1/logins/{login_id}/events", headers={"Login-Secret": client_secret})

    async def open_one() -> None:
        async with turn:
            reader, writer = await asyncio.open_connection(HOST, port, limit=4096)
            writer.write(request)
            await reader.readuntil(b"data: ")
            await reader.readuntil(b"\n\n")
        tasks.append(asyncio.create_task(read_on(reader, writer)))

    async def read_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"data: ")
            await reader.readuntil(b"\n\n")
            events.put_nowait(time.time())
            assert not writer.is_closing()

    tasks: list[asyncio.Task[None]] = []
    await asyncio.gather(*(open_one() for _ in range(VIEWERS)))
    print("there", flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        seen = [await events.get() for _ in range(len(tasks))]
        print(max(seen), flush=True)


def _main(arguments: list[str]) -> None:
    allow_files()
    login_id, client_secret = json.loads(sys.stdin.readline())
    asyncio.run(_view(int(arguments[0]), login_id, client_secret))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _main(sys.argv[1:])
    else:
        print(json.dumps(run(), indent=1))
