"""Kurigram clients on a sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pyrogram
import rsa
from pyrogram.connection import Connection
from pyrogram.connection.transport import TCP, TCPAbridged
from pyrogram.crypto import rsa as kurigram_rsa
from pyrogram.qrlogin import QRLogin
from telethon.crypto.rsa import _compute_fingerprint

from sandbox.process import RunningSandbox

_LONGEST_SECONDS = 20

# What it ships as types does not name what it generates.
raw: Any = pyrogram.raw
new_qr_login: Any = QRLogin


@asynccontextmanager
async def kurigram(
    sandbox: RunningSandbox, transport: type[TCP] = TCPAbridged, *, session_string: str | None = None
) -> AsyncIterator[Any]:
    """Give a connected Kurigram client that is pointed at the sandbox from outside.

    Args:
        session_string: whose auth key it uses; None: a new one.
    """
    key = rsa.PublicKey.load_pkcs1(sandbox.public_key_file.read_bytes())
    kurigram_rsa.server_public_keys[_compute_fingerprint(key)] = kurigram_rsa.PublicKey(key.n, key.e)

    class ToTheSandbox(Connection):
        """Kurigram knows Telegram's addresses by heart; this knows the sandbox's."""

        def __init__(self, **arguments: Any) -> None:
            port = sandbox.dcs[arguments["dc_id"]]
            super().__init__(**{**arguments, "server_address": "127.0.0.1", "port": port})

    client = pyrogram.Client(
        "alice",
        api_id=1,
        api_hash="x",
        session_string=session_string,
        in_memory=True,
        connection_factory=ToTheSandbox,
        protocol_factory=transport,
    )
    await client.connect()
    try:
        yield client
    finally:
        await client.disconnect()


async def scan(sandbox: RunningSandbox, login: QRLogin, account: dict[str, Any]) -> Any:
    """Wait for the update as Kurigram does, while a phone scans."""
    waiting = asyncio.ensure_future(login.wait(_LONGEST_SECONDS))
    # Kurigram listens from its first step on; that step is over when another task gets its turn.
    await asyncio.sleep(0)
    await asyncio.to_thread(sandbox.driver.scan, account["id"], login.url)
    return await waiting
