"""What becomes of a session once it is there: leased and used, validated, revoked, ended from the phone."""

from __future__ import annotations

import asyncio
import time
from random import Random
from typing import Any

from telethon.errors import FloodWaitError

from chaos.cast import Then
from chaos.record import SessionRecord
from chaos.scene import Scene
from latchkey_client import AsyncLatchkey, LatchkeyError

_LEASE_SECONDS = 12
_LONGEST_USE_SECONDS = 60.0


async def afterwards(scene: Scene, session: SessionRecord, then: tuple[Then, ...], random: Random) -> None:
    """Do these things with the session, one after the other."""
    for what in then:
        await asyncio.sleep(random.uniform(0.0, 3.0))
        match what:
            case "lease":
                await use(scene, session, calls=random.randint(1, 12))
            case "validate":
                await _validate(scene, session)
            case "revoke":
                await _revoke(scene, session)
            case "terminate":
                await _terminate(scene, session)


async def use(scene: Scene, session: SessionRecord, *, calls: int) -> bool:
    """Lease the session as a customer does and ask Telegram who it is; False, and a trouble noted, when that fails.

    A flood wait that the customer meets is nobody else's to know: nothing more is asked of the session until it is over.
    """
    latchkey = AsyncLatchkey(scene.tenant.url, scene.tenant.api_key, renew_seconds=3.0)
    began_at, trouble, flood_seconds = time.time(), None, 0
    try:
        async with (
            asyncio.timeout(_LONGEST_USE_SECONDS),
            latchkey.lease(
                session.session_id, holder=session.person, ttl_seconds=_LEASE_SECONDS, flood_sleep_threshold=0
            ) as telegram,
        ):
            for _ in range(calls):
                me = await _who_am_i(telegram)
                trouble = None if me is not None and me.id == session.user_id else f"Telegram says that it is {me}"
    except FloodWaitError as exc:
        trouble, flood_seconds = "FloodWaitError", exc.seconds
    except Exception as exc:  # noqa: BLE001  # Telethon's errors are many; the verdict knows which an outage explains
        trouble = f"{type(exc).__name__} {exc.code if isinstance(exc, LatchkeyError) else ''}".strip()
    if trouble is not None:
        session.troubles.append((began_at, trouble))
    scene.tell(session.person, f"leased {session.session_id} for {calls} calls: {trouble or 'well'}")
    await asyncio.sleep(flood_seconds)
    return trouble is None


async def _who_am_i(telegram: Any) -> Any:
    """Ask, and sit a flood wait out while the lease is held."""
    while True:
        try:
            return await telegram.get_me()
        except FloodWaitError as exc:
            await asyncio.sleep(exc.seconds)


async def _validate(scene: Scene, session: SessionRecord) -> None:
    answer = await scene.tenant.call_until_known("POST", f"/v1/sessions/{session.session_id}/validate")
    scene.tell(session.person, f"validates {session.session_id}: {answer}")


async def _revoke(scene: Scene, session: SessionRecord) -> None:
    answer = await scene.tenant.call_until_known("DELETE", f"/v1/sessions/{session.session_id}")
    session.ends.append(("revoke", answer.status))
    scene.tell(session.person, f"revokes {session.session_id}: {answer}")


async def _terminate(scene: Scene, session: SessionRecord) -> None:
    await scene.field.ask(scene.field.telegram.terminate, session.user_id)
    session.ends.append(("terminate", 200))
    scene.tell(session.person, "ends all other devices on the phone")
