"""The client package: a connected client for as long as the lease lasts, and not a moment longer."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from telethon.errors import AuthKeyNotFound, UnauthorizedError
from telethon.tl.functions.users import GetUsersRequest
from telethon.tl.types import InputUserSelf

from app.clock import utc_now
from app.sessions.leases import release_lease
from app.sessions.planning import plan_validations
from app.sessions.revocation import revoke_session
from latchkey_client import (
    AccessDenied,
    AsyncLatchkey,
    LatchkeyUnavailable,
    LeaseLost,
    NotFound,
    SessionDead,
    SessionLeased,
    SessionNotActive,
    leases,
)
from latchkey_client.steps import Flow, Pause
from latchkey_client.telegram import LeasedClient
from sandbox.process import start_sandbox
from tests.client.served import ServedWeb
from tests.sessions.conftest import StageMaker
from tests.sessions.stage import Stage
from tests.waiting import wait_until


async def until(look: Callable[[], object]) -> float:
    """Wait until what is seen is true; when that was, by ``time.monotonic``."""
    while not look():  # noqa: ASYNC110  # no event tells of what is looked at
        await asyncio.sleep(0.05)
    return time.monotonic()


def test_a_lease_is_a_connected_client(stage: Stage, latchkey: AsyncLatchkey) -> None:
    """Acquired, connected under the session's own device, usable, disconnected, released."""
    user_id = stage.account(first_name="Alicia")
    session_id = stage.connect(user_id)

    async def use() -> None:
        async with latchkey.lease(session_id, holder="bot-1", purpose="a test") as client:
            me = await client.get_me()
            assert (me.id, me.first_name) == (user_id, "Alicia")
            row = stage.row(session_id)
            assert (row.lease_holder, row.lease_purpose, row.fencing_token) == ("bot-1", "a test", 1)
        assert not client.is_connected()

    asyncio.run(use())
    row = stage.row(session_id)
    assert row.lease_id is None
    assert stage.telegram.authorizations(user_id)[0]["device_model"] == stage.settings.telegram_device_model
    assert [action for action, _, _ in stage.audit(session_id)] == [
        "session.opened",
        "lease.acquired",
        "lease.released",
    ]
    assert stage.violations() == {}


def test_the_second_holder_is_told_of_the_first(stage: Stage, latchkey: AsyncLatchkey) -> None:
    """With name and expiry, and without a connection to Telegram."""
    session_id = stage.connect()
    lease = stage.lease(session_id, holder="bot-1")

    async def use() -> SessionLeased:
        with pytest.raises(SessionLeased) as refused:
            async with latchkey.lease(session_id, holder="bot-2"):
                pass
        return refused.value

    refused = asyncio.run(use())
    assert refused.holder == "bot-1"
    assert abs(refused.expires_at - lease.expires_at) < timedelta(milliseconds=5)
    assert stage.calls("users.getUsers") == 0


def test_latchkeys_own_hold_is_waited_for(stage: Stage, latchkey: AsyncLatchkey) -> None:
    """The validator holds a session for moments: no reason to trouble anybody."""
    session_id = stage.connect()
    own = stage.lease(session_id, holder="latchkey:validator")

    async def use() -> None:
        async def release() -> None:
            await asyncio.sleep(0.3)
            await asyncio.to_thread(
                release_lease, stage.core, tenant_id="alice", session_id=session_id, lease_id=own.lease_id
            )

        releasing = asyncio.create_task(release())
        async with latchkey.lease(session_id, holder="bot-1") as client:
            assert client.is_connected()
        await releasing

    asyncio.run(use())


def test_a_lease_is_renewed_and_reports_the_sessions_health(stage: Stage, latchkey: AsyncLatchkey) -> None:
    """At a third of its time; what Telegram answered counts as validation."""
    session_id = stage.connect()
    stage.change(session_id, last_validated_at=utc_now() - timedelta(hours=1))

    async def use() -> None:
        async with latchkey.lease(session_id, ttl_seconds=10) as client:
            first = stage.row(session_id).lease_expires_at
            await until(lambda: stage.row(session_id).lease_expires_at != first)
            assert client.is_connected()

    asyncio.run(asyncio.wait_for(use(), 8))
    validated_at = stage.row(session_id).last_validated_at
    assert validated_at is not None
    assert validated_at > utc_now() - timedelta(seconds=30)


def test_a_lease_is_renewed_in_time_however_long_connecting_took(
    stage: Stage, latchkey: AsyncLatchkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time counts from when it was asked for: a slow connection leaves less of it before the first renewal."""
    session_id = stage.connect()
    connect = LeasedClient.connect

    async def connect_slowly(client: LeasedClient) -> None:
        await asyncio.sleep(4.5)
        await connect(client)

    async def use() -> None:
        async with latchkey.lease(session_id, ttl_seconds=10) as client:
            await asyncio.sleep(6)
            assert await client.get_me() is not None

    monkeypatch.setattr(LeasedClient, "connect", connect_slowly)
    asyncio.run(asyncio.wait_for(use(), 20))


def test_a_renewal_whose_answer_gets_lost_is_asked_for_once_more(
    stage: Stage, latchkey: AsyncLatchkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One silent connection does not use up the time that the lease still has."""
    session_id, silences = stage.connect(), [60.0]
    renew = leases.renew

    def renew_after_silence(*args: Any, **options: Any) -> Flow[Any]:
        if silences:
            yield Pause(silences.pop())
        return (yield from renew(*args, **options))

    async def use() -> None:
        async with latchkey.lease(session_id, ttl_seconds=10) as client:
            await asyncio.sleep(8)
            assert await client.get_me() is not None

    monkeypatch.setattr(leases, "renew", renew_after_silence)
    asyncio.run(asyncio.wait_for(use(), 20))


def test_a_lease_that_cannot_be_renewed_ends_before_it_is_lost(
    stage: Stage, web: ServedWeb, latchkey: AsyncLatchkey
) -> None:
    """Latchkey is away: disconnected seconds before the session could go to somebody else; the block ends with LeaseLost."""
    session_id = stage.connect()

    cut: list[asyncio.Task[float]] = []

    async def use() -> None:
        async with latchkey.lease(session_id, ttl_seconds=10) as client:
            cut.append(asyncio.create_task(until(lambda: not client.is_connected())))
            await asyncio.to_thread(web.go_away)
            await asyncio.sleep(60)

    async def check() -> float:
        acquired = time.monotonic()
        with pytest.raises(LeaseLost):
            await use()
        return await cut[0] - acquired

    assert asyncio.run(check()) < 9
    expires_at = stage.row(session_id).lease_expires_at
    assert expires_at is not None
    assert utc_now() < expires_at


def test_a_holder_that_was_stopped_sends_nothing_when_it_wakes(stage: Stage, web: ServedWeb, api_key: str) -> None:
    """Its lease ran out while it was stopped, and somebody else has the session: it finds out before it asks anything."""
    session_id = stage.connect()
    command = [sys.executable, "-m", "tests.client.paused", web.url, api_key, session_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sleeper:
        try:
            assert sleeper.stdout is not None
            assert sleeper.stdout.readline() == "asked\n"
            sleeper.send_signal(signal.SIGSTOP)
            wait_until(lambda: (stage.row(session_id).lease_expires_at or utc_now()) < utc_now(), every_seconds=0.2)
            assert stage.validate(session_id) == {"ok": 1}
            stage.lease(session_id, holder="next")
            calls = stage.calls("users.getUsers")
            sleeper.send_signal(signal.SIGCONT)
            said = sleeper.stdout.read()
        finally:
            sleeper.kill()
    assert said.endswith("lost\n")
    assert stage.calls("users.getUsers") == calls
    assert stage.row(session_id).lease_holder == "next"
    assert stage.violations() == {}


def test_a_revoked_session_is_let_go(stage: Stage, latchkey: AsyncLatchkey) -> None:
    """The next renewal is refused: the block is cancelled where it stands, and leaves with LeaseLost."""
    session_id = stage.connect()
    clients: list[LeasedClient] = []

    async def use() -> None:
        async with latchkey.lease(session_id, ttl_seconds=10) as client:
            clients.append(client)
            revoke_session(stage.core, tenant_id="alice", session_id=session_id, actor="test", reason="requested")
            await asyncio.sleep(60)

    async def check() -> None:
        with pytest.raises(LeaseLost, match="revoking"):
            await use()
        with pytest.raises(LeaseLost):
            await clients[0].get_me()

    asyncio.run(check())
    assert not clients[0].is_connected()
    assert stage.log_out(session_id) == "done"
    assert stage.violations() == {}


def test_the_blocks_own_exception_comes_out(stage: Stage, latchkey: AsyncLatchkey) -> None:
    """And the lease is released all the same."""
    session_id = stage.connect()

    async def use() -> None:
        async with latchkey.lease(session_id):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(use())
    assert stage.row(session_id).lease_id is None


def test_a_cancelled_block_is_cancelled(stage: Stage, latchkey: AsyncLatchkey) -> None:
    """Somebody else's cancellation is not taken for a lost lease; the lease is released."""
    session_id = stage.connect()

    async def hold(entered: asyncio.Event) -> None:
        async with latchkey.lease(session_id):
            entered.set()
            await asyncio.sleep(60)

    async def use() -> None:
        entered = asyncio.Event()
        holding = asyncio.create_task(hold(entered))
        await entered.wait()
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding

    asyncio.run(use())
    assert stage.row(session_id).lease_id is None


def test_a_dead_session_is_said_to_be_dead(stage: Stage, latchkey: AsyncLatchkey) -> None:
    """Ended from the phone: SessionDead, and Latchkey looks at the session as soon as the lease has ended."""
    user_id = stage.account()
    session_id = stage.connect(user_id)
    stage.telegram.terminate(user_id)

    async def use() -> None:
        with pytest.raises(SessionDead):
            async with latchkey.lease(session_id):
                pass

    asyncio.run(use())
    row = stage.row(session_id)
    assert row.lease_id is None
    assert row.next_validation_at is not None
    assert row.next_validation_at <= utc_now()


def test_a_death_in_a_short_lease_reaches_latchkey(stage: Stage, latchkey: AsyncLatchkey) -> None:
    """The block hears it from Telegram and ends before the first renewal: the session is looked at at once."""
    user_id = stage.account()
    session_id = stage.connect(user_id)

    async def use() -> None:
        async with latchkey.lease(session_id, ttl_seconds=3600) as client:
            stage.telegram.terminate(user_id)
            await client(GetUsersRequest([InputUserSelf()]))

    with pytest.raises(UnauthorizedError):
        asyncio.run(use())
    row = stage.row(session_id)
    assert (row.status, row.lease_id) == ("active", None)
    assert row.reported_dead_at is not None
    assert plan_validations(stage.core) == 1
    (_, ticket, *ids) = stage.sent.tasks[-1]
    assert stage.run_batch(ticket, ids) == {"invalid": 1}


def test_a_good_answer_in_a_short_lease_counts_as_validation(stage: Stage, latchkey: AsyncLatchkey) -> None:
    """It need not last until a renewal for that."""
    session_id = stage.connect()
    stage.change(session_id, last_validated_at=utc_now() - timedelta(hours=1))

    async def use() -> None:
        async with latchkey.lease(session_id, ttl_seconds=3600) as client:
            await client.get_me()

    asyncio.run(use())
    validated_at = stage.row(session_id).last_validated_at
    assert validated_at is not None
    assert validated_at > utc_now() - timedelta(minutes=1)


def test_a_death_that_could_not_be_reported_is_reported_later(
    stage: Stage, web: ServedWeb, latchkey: AsyncLatchkey, caplog: pytest.LogCaptureFixture
) -> None:
    """Latchkey was away when the lease was to be renewed: what was known then is not forgotten."""
    user_id = stage.account()
    session_id = stage.connect(user_id)
    caplog.set_level(logging.INFO, logger="latchkey.client")

    async def use() -> None:
        async with latchkey.lease(session_id, ttl_seconds=30) as client:
            await asyncio.to_thread(web.go_away)
            stage.telegram.terminate(user_id)
            assert await client.get_me() is None
            await until(lambda: "lease not renewed yet" in caplog.text)
            await asyncio.to_thread(web.come_back)

    asyncio.run(asyncio.wait_for(use(), 25))
    assert stage.row(session_id).reported_dead_at is not None


@pytest.mark.timeout(120)
def test_a_key_that_telegram_does_not_know_any_more_is_reported(make_stage: StageMaker, tmp_path: Path) -> None:
    """Telegram says that below its calls, with a transport error, when Telethon has connected again."""
    with start_sandbox(tmp_path / "before") as telegram:
        stage = make_stage(telegram=telegram)
        session_id = stage.connect()
        ports = {
            "control_port": urlsplit(telegram.control).port,
            "dc_ports": ",".join(str(telegram.dcs[number]) for number in sorted(telegram.dcs)),
        }

        async def use(latchkey: AsyncLatchkey) -> None:
            async with latchkey.lease(session_id, ttl_seconds=3600) as client:
                await asyncio.to_thread(telegram.stop)
                with await asyncio.to_thread(start_sandbox, tmp_path / "after", **ports):
                    await client(GetUsersRequest([InputUserSelf()]))

        with ServedWeb(stage.settings) as web, pytest.raises((AuthKeyNotFound, ConnectionError)):
            asyncio.run(asyncio.wait_for(use(web.latchkey(stage.api_key())), 60))
    assert stage.row(session_id).reported_dead_at is not None


def test_a_short_flood_wait_is_sat_out_and_paced(stage: Stage, latchkey: AsyncLatchkey) -> None:
    """Telethon waits and asks once more by itself; the program's next request keeps its distance from that."""
    session_id = stage.connect()

    async def use() -> None:
        async with latchkey.lease(session_id) as client:
            stage.fault(session_id, "users.getUsers", error="FLOOD_WAIT_1", times=1)
            assert await client.get_me() is not None
            assert await client.get_me() is not None

    asyncio.run(use())
    assert stage.violations() == {}


def test_a_lost_connection_comes_back_without_a_storm(
    stage: Stage, latchkey: AsyncLatchkey, caplog: pytest.LogCaptureFixture
) -> None:
    """Telegram accepts and closes for a while: few attempts, and then the client goes on by itself."""
    session_id = stage.connect()
    caplog.set_level(logging.INFO, logger="telethon")

    def attempts() -> int:
        return sum(record.getMessage().startswith("Connecting to") for record in caplog.records)

    async def use() -> None:
        async with latchkey.lease(session_id) as client:
            stage.telegram.network("accept_and_close", cut_all=True)
            began = time.monotonic()
            await until(lambda: attempts() >= 3)
            assert time.monotonic() - began > 0.5
            stage.telegram.network("ok")
            assert await client.get_me() is not None

    asyncio.run(asyncio.wait_for(use(), 30))


def test_what_latchkey_refuses_is_told_apart(
    stage: Stage, web: ServedWeb, latchkey: AsyncLatchkey, api_key: str
) -> None:
    """No such session, one of another tenant, one that cannot be used, a wrong key, nobody there."""
    bobs = stage.connect(tenant="bob")
    revoked = stage.connect()
    stage.change(revoked, status="revoked")

    async def attempt(door: AsyncLatchkey, session_id: str, error: type[Exception]) -> None:
        with pytest.raises(error):
            async with door.lease(session_id):
                pass

    async def check() -> None:
        await attempt(latchkey, "ses_unknown", NotFound)
        await attempt(latchkey, bobs, NotFound)
        await attempt(latchkey, revoked, SessionNotActive)
        await attempt(AsyncLatchkey(web.url, "lk_wrong"), revoked, AccessDenied)
        await attempt(AsyncLatchkey("http://127.0.0.1:1", api_key), revoked, LatchkeyUnavailable)

    asyncio.run(check())


def test_a_call_that_a_cut_interrupts_is_not_followed_by_another_at_once(stage: Stage, latchkey: AsyncLatchkey) -> None:
    """Telethon sends it again by itself when it is connected again, and asks who it is besides: these keep the pace, too."""
    user_id = stage.account()
    session_id = stage.connect(user_id)

    async def use() -> None:
        async with latchkey.lease(session_id, holder="bot-1") as client:
            for _ in range(3):
                stage.telegram.add_fault("users.getUsers", silent=True, times=1)
                call = asyncio.create_task(client.get_me())
                await until(lambda: not stage.telegram.faults())
                await asyncio.to_thread(stage.telegram.network, "ok", cut_all=True)
                assert (await call).id == user_id

    before = stage.telegram.stats()["violations"]["unpaced"]
    asyncio.run(use())
    assert stage.telegram.stats()["violations"]["unpaced"] == before
