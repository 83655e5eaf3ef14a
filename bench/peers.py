"""Logins as the libraries' own documentation shows them: one asyncio script, no queue, no database, no API.

Run in a process of its own. It says ``NUMBER URL`` for each QR code, whose scan somebody else sees to, and at the end a line of
JSON: the CPU seconds that it used, how long it took, and how long each login waited for its URL.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sandbox.process import RunningSandbox

_API_ID, _API_HASH = 12345, "0123456789abcdef0123456789abcdef"
_LONGEST_SECONDS = 120

ShowUrl = Callable[[str], None]
LogIn = Callable[[ShowUrl], Awaitable[object]]


@dataclass(frozen=True)
class Spent:
    """What a peer needed for its logins."""

    logins: int
    cpu_seconds: float
    seconds: float
    url_seconds: list[float]
    """From nothing to the login URL, of each login."""


def run_peer(name: str, telegram: RunningSandbox, *, logins: int, at_once: int) -> Spent:
    """Have a peer log in as many accounts; this process only holds the phones.

    Args:
        name: ``telethon`` or ``kurigram``.
    """
    accounts = [telegram.driver.create_account()["id"] for _ in range(logins)]
    command = [sys.executable, "-m", "bench.peers", name, str(telegram.dcs[2]), str(telegram.public_key_file)]
    with subprocess.Popen([*command, str(logins), str(at_once)], stdout=subprocess.PIPE, text=True) as process:
        timer = threading.Timer(_LONGEST_SECONDS, process.kill)
        timer.start()
        assert process.stdout is not None
        line = ""
        for line in process.stdout:
            if not line.startswith("{"):
                number, url = line.split()
                telegram.driver.scan(accounts[int(number)], url)
        timer.cancel()
    return Spent(**json.loads(line))


async def _run(log_in: LogIn, *, logins: int, at_once: int) -> Spent:
    turns = asyncio.Semaphore(at_once)
    url_seconds: list[float] = []

    async def one(number: int) -> None:
        async with turns:
            began = time.monotonic()

            def show(url: str) -> None:
                url_seconds.append(time.monotonic() - began)
                print(number, url, flush=True)

            await log_in(show)

    began, cpu_before = time.monotonic(), time.process_time()
    await asyncio.gather(*(one(number) for number in range(logins)))
    return Spent(
        logins=logins,
        cpu_seconds=time.process_time() - cpu_before,
        seconds=time.monotonic() - began,
        url_seconds=url_seconds,
    )


def _telethon(port: int, public_key: str) -> LogIn:
    from telethon import TelegramClient
    from telethon.crypto import rsa
    from telethon.sessions import StringSession

    rsa.add_key(public_key, old=False)

    async def log_in(show: ShowUrl) -> object:
        session = StringSession()
        session.set_dc(2, "127.0.0.1", port)
        client = TelegramClient(session, _API_ID, _API_HASH)
        await client.connect()
        try:
            login = await client.qr_login()
            waiting = asyncio.ensure_future(login.wait(30))
            await asyncio.sleep(0)  # it listens from here on
            show(login.url)
            await waiting
            await client.get_me()
            return client.session.save()
        finally:
            await client.disconnect()

    return log_in


def _kurigram(port: int, public_key: str) -> LogIn:
    import pyrogram
    import rsa
    from pyrogram.connection import Connection
    from pyrogram.crypto import rsa as kurigram_rsa
    from pyrogram.qrlogin import QRLogin
    from telethon.crypto.rsa import _compute_fingerprint

    key = rsa.PublicKey.load_pkcs1(public_key.encode())
    kurigram_rsa.server_public_keys[_compute_fingerprint(key)] = kurigram_rsa.PublicKey(key.n, key.e)

    class Nearby(Connection):
        """Kurigram knows Telegram's addresses by heart."""

        def __init__(self, **arguments: Any) -> None:
            super().__init__(**{**arguments, "server_address": "127.0.0.1", "port": port})

    async def log_in(show: ShowUrl) -> object:
        client: Any = pyrogram.Client(
            "bench", api_id=_API_ID, api_hash=_API_HASH, in_memory=True, connection_factory=Nearby
        )
        await client.connect()
        try:
            login: Any = QRLogin(client)
            await login.recreate()
            waiting = asyncio.ensure_future(login.wait(30))
            await asyncio.sleep(0)
            show(login.url)
            await waiting
            await client.get_me()
            return await client.export_session_string()
        finally:
            await client.disconnect()

    return log_in


def _main(name: str, port: str, key_file: str, logins: str, at_once: str) -> None:
    with open(key_file) as file:
        public_key = file.read()
    log_in = {"telethon": _telethon, "kurigram": _kurigram}[name](int(port), public_key)
    spent = asyncio.run(_run(log_in, logins=int(logins), at_once=int(at_once)))
    print(json.dumps(spent.__dict__), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
