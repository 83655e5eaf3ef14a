"""A program that uses a lease and says what it does; the test stops it for longer than the lease lasts.

Run as ``python -m tests.client.paused URL API_KEY SESSION_ID``.
"""

from __future__ import annotations

import asyncio
import sys

from latchkey_client import AsyncLatchkey, LeaseLost


async def use(url: str, api_key: str, session_id: str) -> None:
    """Ask Telegram without end."""
    async with AsyncLatchkey(url, api_key).lease(session_id, holder="sleeper", ttl_seconds=10) as client:
        while True:
            await client.get_me()
            sys.stdout.write("asked\n")
            sys.stdout.flush()


if __name__ == "__main__":
    try:
        asyncio.run(use(*sys.argv[1:]))
    except LeaseLost:
        sys.stdout.write("lost\n")
