"""The end of a lease: the client is silent before somebody else may use the session, and the lease is not given up sooner."""

from __future__ import annotations

import asyncio

import pytest
from telethon.tl.functions.users import GetUsersRequest
from telethon.tl.types import InputUserSelf

from app.sessions.revocation import revoke_session
from latchkey_client import AsyncLatchkey, LeaseLost
from latchkey_client.telegram import LeasedClient
from tests.client.served import ServedWeb
from tests.client.test_lease import until
from tests.sessions.stage import Stage


def test_a_long_lease_hears_of_a_revocation_in_time(stage: Stage, web: ServedWeb, api_key: str) -> None:
    """A revoked session's key is logged out within 60 s, also under a lease of an hour: its holder must have asked by then."""
    session_id = stage.connect()
    latchkey = AsyncLatchkey(web.url, api_key, renew_seconds=0.5)

    async def use() -> None:
        async with latchkey.lease(session_id, ttl_seconds=3600):
            revoke_session(stage.core, tenant_id="alice", session_id=session_id, actor="test", reason="requested")
            await asyncio.sleep(60)

    async def check() -> None:
        with pytest.raises(LeaseLost, match="revoking"):
            await asyncio.wait_for(use(), 15)

    asyncio.run(check())
    assert stage.log_out(session_id) == "done"
    assert stage.violations() == {}


def test_nothing_leaves_once_the_lease_is_over(stage: Stage) -> None:
    """Telethon sends by itself, past every call of the program: keep-alives, and requests that sat out a flood wait."""
    _, string_session = stage.logged_in()
    over = False

    def guard() -> None:
        if over:
            raise LeaseLost("over")

    async def check() -> None:
        nonlocal over
        client = LeasedClient(string_session, stage.settings.telegram_api_id, pace_seconds=(0.2, 0.5), guard=guard)
        await client.connect()
        over = True
        before, connections = stage.calls("users.getUsers"), stage.telegram.stats()["connections"]
        sent_by_itself = client._sender.send(GetUsersRequest([InputUserSelf()]))
        await until(lambda: stage.telegram.stats()["connections"] < connections)
        assert stage.calls("users.getUsers") == before
        await client.disconnect()
        sent_by_itself.cancel()

    asyncio.run(asyncio.wait_for(check(), 20))


def test_a_client_that_may_still_be_connected_keeps_its_lease(stage: Stage, latchkey: AsyncLatchkey) -> None:
    """Cancelled while it disconnects, a block does not know that it has: the lease runs out instead of being given up."""
    session_id = stage.connect()
    leaving = asyncio.Event()

    class Reluctant(LeasedClient):
        async def disconnect(self) -> None:
            leaving.set()
            await asyncio.sleep(60)

    async def use() -> None:
        async with latchkey.lease(session_id, ttl_seconds=10) as client:
            client.__class__ = Reluctant

    async def check() -> None:
        using = asyncio.create_task(use())
        await leaving.wait()
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using

    asyncio.run(check())
    assert stage.row(session_id).lease_id is not None
