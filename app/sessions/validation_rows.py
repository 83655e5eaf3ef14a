"""The rows of a batch's sessions: what its validations want of them at the same moment is one transaction.

A session that cannot be had together with the others (it does not open, or somebody else has locked it) is taken and written
by itself, so that it keeps nobody waiting and gets its own answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from app.core import Core
from app.errors import Conflict, SealBroken
from app.gathering import Gathering
from app.models import VALIDATED_SESSION_STATUSES, TelegramSession
from app.sessions.claim import Account
from app.sessions.holding import HeldSession, hold_session, hold_sessions
from app.sessions.mass_death import note_answers
from app.sessions.store import OWN_HOLDER_PREFIX
from app.sessions.verdicts import FoundAlive, ValidationOutcome, found_alive, found_alive_together, found_as_it_was
from app.telegram.process import TelegramParts
from app.vault.wrapping import KeyUnavailable

_HOLDER = OWN_HOLDER_PREFIX + "validator"
_COMPANY_SECONDS = 0.15
"""Answers of Telegram come one by one; so long a verdict waits for others. Its session is leased for that much longer."""


class ValidationRows:
    """See the module. Lives on the loop.

    Args:
        ticket: what the batch's sessions were planned with.
    """

    def __init__(self, core: Core, telegram: TelegramParts, *, ticket: datetime) -> None:
        self._core = core
        self._runtime = telegram.runtime
        self._redis = telegram.rounds
        self._asked_for: dict[str, Any] = {
            "holder": _HOLDER,
            "reason": "validation",
            "statuses": VALIDATED_SESSION_STATUSES,
            "conditions": (TelegramSession.next_validation_at == ticket,),
        }
        self._holds = Gathering[str, HeldSession | None](self._hold_round)
        self._verdicts = Gathering[FoundAlive, bool](self._write_round)

    async def hold(self, session_id: str) -> HeldSession | None:
        """Hold a session (``app.sessions.holding``); None: its ticket has gone, or somebody else holds it.

        Raises:
            SealBroken, Conflict, KeyUnavailable, Transient, Unavailable: as ``hold_session``.
        """
        held = await self._holds.ask(session_id)
        return held or await self._runtime.in_thread(hold_session, self._core, session_id=session_id, **self._asked_for)

    async def found_alive(self, held: HeldSession, account: Account) -> ValidationOutcome:
        """Count that a session lives, write it down, and give the session up (``app.sessions.verdicts``).

        Raises:
            Unavailable: PostgreSQL is away; nothing was written.
        """
        found = FoundAlive(held, account)
        if not found_as_it_was(found):
            await note_answers(self._redis, 1)
        elif await self._verdicts.ask(found):
            return "ok"
        return await self._runtime.in_thread(found_alive, self._core, held, account)

    async def _hold_round(self, session_ids: Sequence[str]) -> list[HeldSession | None]:
        held = await self._runtime.in_thread(self._hold_together, session_ids)
        return [held.get(session_id) for session_id in session_ids]

    async def _write_round(self, found: Sequence[FoundAlive]) -> list[bool]:
        await asyncio.sleep(_COMPANY_SECONDS)
        await note_answers(self._redis, len(found))
        written = await self._runtime.in_thread(found_alive_together, self._core, found)
        return [each.held.row.id in written for each in found]

    def _hold_together(self, session_ids: Sequence[str]) -> dict[str, HeldSession]:
        try:
            held = hold_sessions(self._core, session_ids=session_ids, **self._asked_for)
        except (SealBroken, Conflict, KeyUnavailable):
            return {}  # one of them: each is held by itself and hears it
        return {each.row.id: each for each in held}
