"""What the sandbox costs: CPU of a handshake, memory of 5,000 waiting clients, time of a call.

The peer of the handshake is the same arithmetic on Python's own integers, which is how Telethon does it by default.
"""

from __future__ import annotations

import asyncio
import resource
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import rsa
from telethon.crypto.rsa import _compute_fingerprint
from telethon.tl import functions

from bench.figures import Figure, only_told
from bench.sandbox_client import API_HASH, API_ID, LeanClient
from sandbox.mtproto import arithmetic as maths
from sandbox.process import RunningSandbox, start_sandbox

CONNECTIONS = 5000
_AT_ONCE = 50
_ROUNDS = 20
_CALLS = 2000
_IDLE_SECONDS = 5.0


def run() -> dict[str, Figure]:
    """All figures, by name. Measure on this machine; takes about a minute."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    figures = _arithmetic()
    with tempfile.TemporaryDirectory() as folder, start_sandbox(Path(folder)) as sandbox:
        figures |= asyncio.run(_clients(sandbox))
    return figures


def _arithmetic() -> dict[str, Figure]:
    """Measure the three powers of one handshake, the server's side, both ways."""
    key, exponent = maths.ServerKey.generate(), secrets.randbits(2048)
    encrypted, g_b = secrets.token_bytes(256), pow(3, secrets.randbits(2048), maths.DH_PRIME)
    modulus = rsa.PublicKey.load_pkcs1(key.public_pem.encode()).n
    private = secrets.randbits(2048)  # as long as a private exponent, which is all that counts here

    def in_python() -> None:
        pow(int.from_bytes(encrypted, "big"), private, modulus)
        pow(maths.GENERATOR, exponent, maths.DH_PRIME)
        pow(g_b, exponent, maths.DH_PRIME)

    def ours() -> None:
        key.decrypt(encrypted)
        short = maths.new_exponent()
        maths.mod_power(maths.GENERATOR, short)
        maths.mod_power(g_b, short)

    python_ms, our_ms = _cpu_ms(in_python), _cpu_ms(ours)
    peer = "Python's own integers"
    return {"sandbox, arithmetic of a handshake": only_told(our_ms, "ms of CPU", peer=peer, peer_value=python_ms)}


def _cpu_ms(work: Callable[[], None]) -> float:
    times = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        work()
        times.append((time.process_time() - began) * 1000)
    return statistics.median(times)


async def _clients(sandbox: RunningSandbox) -> dict[str, Figure]:
    """Open the connections, each with a handshake and a login token, and look at the process that serves them."""
    process = psutil.Process(sandbox.pid)
    at_rest, cpu_before, began = process.memory_info().rss, _cpu_seconds(process), time.monotonic()
    turn, clients = asyncio.Semaphore(_AT_ONCE), []

    async def arrive() -> None:
        async with turn:
            clients.append(await _waiting_client(sandbox))

    await asyncio.gather(*(arrive() for _ in range(CONNECTIONS)))
    wall, cpu = time.monotonic() - began, _cpu_seconds(process) - cpu_before
    stats = sandbox.driver.stats()
    assert stats["connections"] == stats["handshakes"] == CONNECTIONS
    full, idle_from = process.memory_info().rss, _cpu_seconds(process)
    await asyncio.sleep(_IDLE_SECONDS)
    idle_cpu = _cpu_seconds(process) - idle_from
    calls = await _calls(clients[0])
    for client in clients:
        client.close()
    return {
        "sandbox, handshake and first login token": only_told(cpu / CONNECTIONS * 1000, "ms of CPU"),
        "sandbox, clients that arrive": only_told(CONNECTIONS / wall, "a second"),
        f"sandbox, memory of a connection, {CONNECTIONS:,} of them": only_told(
            (full - at_rest) / CONNECTIONS / 1024, "KiB"
        ),
        f"sandbox, share of a core while {CONNECTIONS:,} wait": only_told(idle_cpu / _IDLE_SECONDS, "cores"),
        **calls,
    }


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _waiting_client(sandbox: RunningSandbox) -> LeanClient:
    """Return a client that has done what a login does until its QR code shows."""
    key = rsa.PublicKey.load_pkcs1(sandbox.public_key_file.read_bytes())
    client = await LeanClient.connect(sandbox.dcs[2])
    await client.exchange_key(modulus=key.n, exponent=key.e, fingerprint=_compute_fingerprint(key))
    await client.introduce()
    await client.call(functions.auth.ExportLoginTokenRequest(API_ID, API_HASH, []))
    return client


async def _calls(client: LeanClient) -> dict[str, Figure]:
    """Measure calls one after the other on one connection, while the others are open."""
    times = []
    for _ in range(_CALLS):
        began = time.perf_counter()
        await client.call(functions.auth.ExportLoginTokenRequest(API_ID, API_HASH, []))
        times.append((time.perf_counter() - began) * 1000)
    p99 = statistics.quantiles(times, n=100)[98]
    return {
        "sandbox, a call, p50": only_told(statistics.median(times), "ms"),
        "sandbox, a call, p99": only_told(p99, "ms"),
    }
