"""What a Celery user would write first: a task that makes a client and waits; one login per worker process."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from celery import Celery
from telethon import TelegramClient
from telethon.crypto import rsa
from telethon.sessions import StringSession

_WAIT_SECONDS = 120

app = Celery("prefork", broker=os.environ["PREFORK_BROKER"])


@app.task(name="log_in")
def log_in(number: int) -> str:
    """Log in, and give the session."""
    rsa.add_key(Path(os.environ["PREFORK_KEY"]).read_text(), old=False)
    return asyncio.run(_log_in())


async def _log_in() -> str:
    session = StringSession()
    session.set_dc(2, "127.0.0.1", int(os.environ["PREFORK_PORT"]))
    client = TelegramClient(session, 12345, "0123456789abcdef0123456789abcdef")
    await client.connect()
    login = await client.qr_login()
    await login.wait(_WAIT_SECONDS)
    return str(client.session.save())


if __name__ == "__main__":
    for each in range(int(sys.argv[1])):
        log_in.delay(each)
