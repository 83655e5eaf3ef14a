"""The rows of all logins of a worker: what they want written at the same moment is one transaction.

A row that somebody else has locked, or that is not the worker's any more, is written by itself, so that it keeps nobody waiting
and gets its own answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import select

from app.core import Core
from app.gathering import Gathering
from app.logins.store import advance, take
from app.logins.store_many import Write, advance_many, may_gather, take_many
from app.models import Login, Tenant
from app.telegram.runtime import LoopThread


class Taken(NamedTuple):
    """A login that is this worker's now, and its tenant."""

    login: Login
    tenant: Tenant


class LoginRows:
    """See the module. Lives on the loop."""

    def __init__(self, core: Core, runtime: LoopThread) -> None:
        self._core = core
        self._runtime = runtime
        self._takes = Gathering[str, Taken | None](self._take_round)
        self._writes = Gathering[Write, int | None](self._write_round)

    async def take(self, login_id: str) -> Taken | None:
        """Make this worker the one that drives a login (``app.logins.store.take``); None: there is no live login of that id.

        Raises:
            Unavailable: PostgreSQL is away; nothing was written.
        """
        return await self._takes.ask(login_id) or await self._runtime.in_thread(self._take_alone, login_id)

    async def advance(self, write: Write, *, patience_seconds: float = 0.0) -> int:
        """Write to a login as its owner (``app.logins.store.advance``); the row's version.

        Args:
            patience_seconds: as in ``Gathering.ask``.

        Raises:
            OwnershipLost, LoginOver: the row is not this worker's (any more).
            Unavailable: PostgreSQL is away; nothing was written.
        """
        if may_gather(write):
            version = await self._writes.ask(write, patience_seconds=patience_seconds)
            if version is not None:
                return version
        return await self._runtime.in_thread(self._advance_alone, write)

    async def _take_round(self, login_ids: Sequence[str]) -> list[Taken | None]:
        taken = await self._runtime.in_thread(self._take_together, login_ids)
        return [taken.get(login_id) for login_id in login_ids]

    async def _write_round(self, writes: Sequence[Write]) -> list[int | None]:
        # Of one login one write a round: a second one goes after it, by itself.
        first: dict[str, int] = {}
        for number, write in enumerate(writes):
            first.setdefault(write.login_id, number)
        versions = await self._runtime.in_thread(self._advance_together, [writes[number] for number in first.values()])
        return [
            versions.get(write.login_id) if first[write.login_id] == number else None
            for number, write in enumerate(writes)
        ]

    # --- in threads

    def _take_together(self, login_ids: Sequence[str]) -> dict[str, Taken]:
        with self._core.transaction() as db:
            logins = take_many(db, login_ids, owner=self._core.actor)
            tenant_ids = {login.tenant_id for login in logins}
            tenants = {tenant.id: tenant for tenant in db.scalars(select(Tenant).where(Tenant.id.in_(tenant_ids)))}
            return {login.id: Taken(login, tenants[login.tenant_id]) for login in logins}

    def _take_alone(self, login_id: str) -> Taken | None:
        with self._core.transaction() as db:
            login = take(db, login_id=login_id, owner=self._core.actor)
            return None if login is None else Taken(login, db.get_one(Tenant, login.tenant_id))

    def _advance_together(self, writes: Sequence[Write]) -> dict[str, int]:
        with self._core.transaction() as db:
            return advance_many(db, writes)

    def _advance_alone(self, write: Write) -> int:
        with self._core.transaction() as db:
            return advance(db, login_id=write.login_id, epoch=write.epoch, public=write.public, **write.changes)
