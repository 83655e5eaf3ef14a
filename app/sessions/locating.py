"""Locating: an imported session whose string session left its data centre's address out, at a server that is not Telegram.

Telegram's own addresses are known by heart. Another server says in ``help.getConfig`` where its data centres are, so the first
validation asks there, and the address is kept.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from sqlalchemy.orm import Session as DatabaseSession

from app.core import Core
from app.errors import Transient
from app.models import TelegramSession
from app.sessions.holding import HeldSession, HoldLost
from app.settings import DataCentre
from app.telegram.connection import TelegramConnection
from app.telegram.data_centres import AddressUnknown, is_unlocated
from app.telegram.errors import ConnectionLost
from app.telegram.process import TelegramParts
from app.telegram.string_sessions import make_string_session
from app.vault.places import session_place
from app.vault.transact import transact

_LOCATING_SECONDS = 20.0


async def locate_session(core: Core, telegram: TelegramParts, held: HeldSession) -> HeldSession:
    """Find and keep the address of a quarantined session's data centre, if only its number is known.

    Returns:
        The session at its address; most are there already.

    Raises:
        AddressUnknown: the server has no such data centre.
        HoldLost: the lease was lost meanwhile.
        Transient, TimeoutError: the server cannot be asked now.
    """
    server, in_thread = core.settings.data_centre, telegram.runtime.in_thread
    if server is None or held.row.status != "quarantined":
        return held
    if not await in_thread(is_unlocated, held.data_centre, server):
        return held
    async with asyncio.timeout(_LOCATING_SECONDS):
        found = await _ask(telegram, held, server)
    await in_thread(_keep, core, held, found)
    return replace(held, data_centre=found)


async def _ask(telegram: TelegramParts, held: HeldSession, server: DataCentre) -> DataCentre:
    # Under an auth key of its own: the session's is unknown at this data centre.
    connection = TelegramConnection(
        identity=held.identity,
        data_centre=server,
        auth_key=None,
        handshakes=telegram.handshakes,
        receive_updates=False,
    )
    try:
        await connection.open()
        return connection.find_data_centre(held.data_centre.dc_id)
    except ConnectionLost as exc:
        if connection.connected:
            raise AddressUnknown from exc
        raise
    finally:
        await connection.close()


def _keep(core: Core, held: HeldSession, found: DataCentre) -> None:
    session_string = make_string_session(auth_key=held.auth_key, data_centre=found).encode()

    def write(db: DatabaseSession) -> None:
        row = db.get_one(TelegramSession, held.row.id, with_for_update=True)
        if row.lease_id != held.lease_id:
            raise HoldLost("Another process holds the session now.")
        if row.key_id is None:
            raise Transient("The session was erased meanwhile.")
        place = session_place(row.tenant_id, row.id)
        row.session_sealed = core.keyring.seal_under_key(row.key_id, place, session_string)
        row.version += 1

    transact(core.transaction, core.keyring, write)
