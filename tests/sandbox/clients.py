"""Stock Telethon clients on a sandbox, and the few steps that many tests take with them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable
from typing import Any, TypeVar

from telethon import TelegramClient, events
from telethon.crypto import rsa
from telethon.sessions import StringSession
from telethon.tl import types
from telethon.tl.functions import auth, users

from sandbox.process import RunningSandbox

API_ID, API_HASH = 17349, "344583e45741c457fe1862106095a5eb"

Answer = TypeVar("Answer")


def login_url(token: bytes) -> str:
    """Return what a QR code holds."""
    return "tg://login?token=" + base64.urlsafe_b64encode(token).decode().rstrip("=")


async def soon(awaitable: Awaitable[Answer]) -> Answer:
    """Wait for what should come at once."""
    return await asyncio.wait_for(awaitable, 10)


class TelethonClients:
    """Makes Telethon clients, and closes them when the test ends."""

    def __init__(self, sandbox: RunningSandbox) -> None:
        self.sandbox = sandbox
        self._clients: list[Any] = []
        rsa.add_key(sandbox.public_key_file.read_text(), old=False)

    async def connect(self, session: str = "", *, dc_id: int = 2, **options: Any) -> Any:
        """Return a connected client, with a new auth key or a session string's."""
        stored = StringSession(session)
        if not session:
            stored.set_dc(dc_id, "127.0.0.1", self.sandbox.dcs[dc_id])
        TelegramClient._config = None  # it keeps the last sandbox's addresses on the class
        # Telethon fails one handshake in 256 and then tries again, if it may.
        options = {"connection_retries": 3, "flood_sleep_threshold": 0, "retry_delay": 0, **options}
        client = TelegramClient(stored, API_ID, API_HASH, **options)
        self._clients.append(client)
        await client.connect()
        return client

    async def log_in(self, account: dict[str, Any], *, password: str | None = None) -> Any:
        """Return a client that is logged in to an account of its data centre, by QR code."""
        client = await self.connect(dc_id=account["dc_id"])
        await self.scan(account, await export(client))
        if password is None:
            assert isinstance(await export(client), types.auth.LoginTokenSuccess)
        else:
            await client.sign_in(password=password)
        return client

    async def scan(self, account: dict[str, Any], exported: Any) -> None:
        """Let an account's phone scan an exported token."""
        url = login_url(exported.token)
        await asyncio.to_thread(self.sandbox.driver.scan, account["id"], url)

    async def close_all(self) -> None:
        """Disconnect every client."""
        for client in self._clients:
            await client.disconnect()


async def export(client: Any, except_ids: list[int] | None = None) -> Any:
    """Export a login token with the raw request."""
    return await client(auth.ExportLoginTokenRequest(API_ID, API_HASH, except_ids or []))


async def renewed(client: Any, former: Any) -> Any:
    """Export until the answer has another token than the former one."""
    while (exported := await export(client)).token == former.token:  # noqa: ASYNC110 - only asking tells
        await asyncio.sleep(0.02)
    return exported


async def own_id(client: Any) -> int:
    """Ask who is logged in, with the raw request."""
    answer = await client(users.GetUsersRequest([types.InputUserSelf()]))
    return int(answer[0].id)


def login_token_updates(client: Any) -> asyncio.Queue[Any]:
    """Return a queue that gets every updateLoginToken from now on."""
    received: asyncio.Queue[Any] = asyncio.Queue()

    async def note(update: Any) -> None:
        received.put_nowait(update)

    client.add_event_handler(note, events.Raw(types.UpdateLoginToken))
    return received
