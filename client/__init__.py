"""Using Latchkey's sessions from another program: a connected Telethon client for as long as a lease lasts.

    from client import Latchkey

    async with Latchkey("https://latchkey.example", "lk_…").lease("ses_…", holder="bot-1") as telegram:
        await telegram.send_message("me", "Hello")

Needs Telethon and aiohttp, and nothing of Latchkey itself: the folder may be copied.
"""

from .errors import (
    AccessDenied,
    LatchkeyError,
    LatchkeyUnavailable,
    LeaseLost,
    SessionDead,
    SessionLeased,
    SessionNotActive,
    SessionNotFound,
)
from .latchkey import Latchkey

__all__ = [
    "AccessDenied",
    "Latchkey",
    "LatchkeyError",
    "LatchkeyUnavailable",
    "LeaseLost",
    "SessionDead",
    "SessionLeased",
    "SessionNotActive",
    "SessionNotFound",
]
