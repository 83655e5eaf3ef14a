"""Somebody who brings a session of their own: logged in past Latchkey, then imported."""

from __future__ import annotations

import asyncio
from typing import Any

from telethon import TelegramClient
from telethon.crypto import rsa
from telethon.errors import FloodWaitError
from telethon.sessions import StringSession
from telethon.tl.functions.auth import SendCodeRequest, SignInRequest
from telethon.tl.types import CodeSettings

from chaos.field import Field
from chaos.record import SessionRecord
from chaos.scene import Scene
from chaos.tenant import Tenant
from devstack.ports import HOST

_TRIES = 20
_PACE_SECONDS = 0.3
_API_ID, _API_HASH = 1, "0"
_ADMISSION_LOOKS = 150  # a validation that found Telegram away comes again within the interval


async def bring_session(scene: Scene, person: str, account: dict[str, Any]) -> SessionRecord | None:
    """Log in with a stock client, disconnect, and import the string session; None when Latchkey never took it."""
    session_string = await _log_in_elsewhere(scene.field, account)
    scene.records.secrets.add("session string", session_string)
    answer = await scene.tenant.call_until_known("POST", "/v1/sessions", json={"session_string": session_string})
    session_id = answer.body.get("id") or await _find(scene.tenant, account["id"])
    scene.tell(person, f"brings a session of their own: {answer.status} {session_id or answer.body}")
    if session_id is None:
        return None
    session = scene.records.session(session_id, person=person, user_id=account["id"])
    if not await _becomes_active(scene.tenant, session_id):
        scene.tell(person, "the session was never admitted")
        return None
    return session


async def _becomes_active(tenant: Tenant, session_id: str) -> bool:
    for _ in range(_ADMISSION_LOOKS):
        answer = await tenant.call("GET", f"/v1/sessions/{session_id}")
        if answer.body.get("status") == "active":
            return True
        await asyncio.sleep(1.0)
    return False


async def _find(tenant: Tenant, user_id: int) -> str | None:
    """An import whose first answer was lost is refused as a duplicate the second time; it becomes active by itself."""
    for _ in range(_TRIES):
        found = await tenant.call("GET", "/v1/sessions", params={"telegram_user_id": user_id})
        if found.body.get("data"):
            return str(found.body["data"][0]["id"])
        await asyncio.sleep(2.0)
    return None


async def _log_in_elsewhere(field: Field, account: dict[str, Any]) -> str:
    """Log in by phone code, again and again while Telegram is away."""
    rsa.add_key(field.public_key_file.read_text(), old=False)
    for _ in range(_TRIES):
        try:
            async with asyncio.timeout(40):
                return await _log_in_once(field, account)
        except FloodWaitError as exc:
            field.story.tell(f"a stock client waits {exc.seconds} s")
            await asyncio.sleep(exc.seconds)
        except Exception as exc:  # noqa: BLE001  # Telethon's errors are many, and every one of them means: once more
            field.story.tell(f"a stock client's log-in failed ({type(exc).__name__})")
        await asyncio.sleep(1.0)
    raise RuntimeError("a stock client could not log in")


async def _log_in_once(field: Field, account: dict[str, Any]) -> str:
    stored = StringSession()
    stored.set_dc(account["dc_id"], HOST, field.data_centre_ports[account["dc_id"] - 1])
    client = TelegramClient(stored, _API_ID, _API_HASH, auto_reconnect=False, flood_sleep_threshold=0)
    try:
        await client.connect()
        await asyncio.sleep(_PACE_SECONDS)
        sent = await client(SendCodeRequest(account["phone"], _API_ID, _API_HASH, CodeSettings()))
        messages = await field.ask(field.telegram.messages, account["id"])
        await asyncio.sleep(_PACE_SECONDS)
        await client(SignInRequest(account["phone"], sent.phone_code_hash, messages[-1]["code"]))
        return str(stored.save())
    finally:
        await client.disconnect()
