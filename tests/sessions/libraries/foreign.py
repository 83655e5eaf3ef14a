"""The libraries themselves, at a sandbox: each logs an account in and gives its string session, or says whose one is."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import rsa
from telethon.crypto.rsa import _compute_fingerprint

from sandbox.process import RunningSandbox
from tests.sandbox.clients import API_HASH, API_ID, TelethonClients, own_id
from tests.sandbox.kurigram import kurigram, new_qr_login, scan

FOLDER = Path(__file__).parent
_LONGEST_SECONDS = 30

Account = dict[str, Any]
Answer = TypeVar("Answer")


class ForeignLibrary(Protocol):
    """A library, as somebody uses it."""

    def log_in(self, account: Account) -> str:
        """Log in by QR code at the account's data centre, disconnect, and return the string session."""

    def whose(self, session_string: str) -> int:
        """Connect with a string session, ask ``getMe``, disconnect, and return the user id."""


class Telethon:
    """Telethon's own client."""

    def __init__(self, sandbox: RunningSandbox) -> None:
        self._sandbox = sandbox

    def log_in(self, account: Account) -> str:
        """See ``ForeignLibrary``."""

        async def log_in(clients: TelethonClients) -> str:
            return str((await clients.log_in(account)).session.save())

        return self._run(log_in)

    def whose(self, session_string: str) -> int:
        """See ``ForeignLibrary``."""

        async def ask(clients: TelethonClients) -> int:
            return await own_id(await clients.connect(session_string))

        return self._run(ask)

    def _run(self, use: Callable[[TelethonClients], Awaitable[Answer]]) -> Answer:
        async def run() -> Answer:
            clients = TelethonClients(self._sandbox)
            try:
                return await use(clients)
            finally:
                await clients.close_all()

        return asyncio.run(asyncio.wait_for(run(), _LONGEST_SECONDS))


class Kurigram:
    """Pyrogram's living fork."""

    def __init__(self, sandbox: RunningSandbox) -> None:
        self._sandbox = sandbox

    def log_in(self, account: Account) -> str:
        """See ``ForeignLibrary``."""

        async def log_in() -> str:
            async with kurigram(self._sandbox) as client:
                login = new_qr_login(client)
                await login.recreate()
                await scan(self._sandbox, login, account)
                return str(await client.export_session_string())

        return asyncio.run(asyncio.wait_for(log_in(), _LONGEST_SECONDS))

    def whose(self, session_string: str) -> int:
        """See ``ForeignLibrary``."""

        async def ask() -> int:
            async with kurigram(self._sandbox, session_string=session_string) as client:
                return int((await client.get_me()).id)

        return asyncio.run(asyncio.wait_for(ask(), _LONGEST_SECONDS))


class NodeLibrary:
    """A library for Node.js, in a process of its own for each visit.

    Args:
        script: in this folder; takes orders and gives answers as lines of JSON.
    """

    def __init__(self, sandbox: RunningSandbox, script: str) -> None:
        self._sandbox = sandbox
        self._script = script

    def log_in(self, account: Account) -> str:
        """See ``ForeignLibrary``."""
        with self._visit(action="log in", dc_id=account["dc_id"]) as talk:
            self._sandbox.driver.scan(account["id"], talk()["url"])
            return str(talk({})["session"])

    def whose(self, session_string: str) -> int:
        """See ``ForeignLibrary``."""
        with self._visit(action="ask", session=session_string) as talk:
            return int(talk()["user_id"])

    @contextmanager
    def _visit(self, *, dc_id: int = 2, **order: str) -> Iterator[Callable[..., dict[str, Any]]]:
        order_line = {"server": self._server(dc_id), "api_id": API_ID, "api_hash": API_HASH, **order}
        with subprocess.Popen(
            ["node", self._script], cwd=FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None

            def talk(said: object = None) -> dict[str, Any]:
                if said is not None:
                    print(json.dumps(said), file=process.stdin, flush=True)
                line = process.stdout.readline() if process.stdout else ""
                assert line, f"{self._script} has ended without an answer"
                answer: dict[str, Any] = json.loads(line)
                return answer

            try:
                print(json.dumps(order_line), file=process.stdin, flush=True)
                yield talk
                process.wait(_LONGEST_SECONDS)  # until it has disconnected
            finally:
                process.kill()

    def _server(self, dc_id: int) -> dict[str, Any]:
        pem = self._sandbox.public_key_file.read_bytes()
        key = rsa.PublicKey.load_pkcs1(pem)
        fingerprint = str(_compute_fingerprint(key))
        return {
            "dc_id": dc_id,
            "host": "127.0.0.1",
            "port": self._sandbox.dcs[dc_id],
            "key": {"pem": pem.decode(), "fingerprint": fingerprint, "modulus": str(key.n), "exponent": key.e},
        }
