"""Holding logins: locks that are given back stay given back, and losses are noticed before anything is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
from sqlalchemy.orm import Session as DatabaseSession

from app.core import Core
from app.errors import LoginOver, OwnershipLost
from app.logins.keeper import HandOver, Hold, LoginKeeper
from app.logins.service import Reader, cancel_login
from app.logins.serving import NewLogin
from app.logins.start import start_login
from app.logins.store import Ownership, ownership_of, take
from app.redis_state import login_lock_key, make_async_redis
from app.telegram.runtime import LoopThread

OnLoop = Callable[[Callable[[LoginKeeper], Awaitable[None]]], None]


@pytest.fixture
def on_loop(core: Core) -> Iterator[OnLoop]:
    """Runs a test's coroutine on a loop thread, with a keeper there that renews when the test says so."""
    runtime = LoopThread()
    runtime.start()

    def run(work: Callable[[LoginKeeper], Awaitable[None]]) -> None:
        async def with_keeper() -> None:
            async with make_async_redis(core.settings.redis_url) as client:
                await work(LoginKeeper(core, redis=client))

        runtime.run(with_keeper(), timeout_seconds=30)

    yield run
    runtime.stop()


def held(core: Core, hold: Hold) -> str:
    """Make the holder the row's owner, as a run does."""
    with core.transaction() as db:
        login = take(db, login_id=hold.login_id, owner="one")
    assert login is not None
    hold.epoch = login.owner_epoch
    return login.id


def new_login(core: Core) -> str:
    """A queued login."""
    return start_login(core, tenant_id="alice", request=NewLogin()).login.id


def test_a_renewal_does_not_take_back_what_is_being_released(core: Core, on_loop: OnLoop) -> None:
    """Released in the middle of a renewal, a hundred times over: no lock is left that nobody holds."""

    async def work(keeper: LoginKeeper) -> None:
        holds = [hold for _ in range(100) if (hold := await keeper.acquire(new_login(core)))]
        for hold in holds:
            held(core, hold)
        renewal = asyncio.create_task(keeper.renew_all())
        for number, hold in enumerate(holds):
            if number % 10 == 0:
                await asyncio.sleep(0)  # let the renewal advance by a step
            asyncio.create_task(keeper.release(hold))  # noqa: RUF006  # gathered below
        await renewal
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
        assert list(core.redis.keys("latchkey:login:*:lock")) == []

    on_loop(work)


def test_those_released_together_release_their_own_locks_and_no_others(core: Core, on_loop: OnLoop) -> None:
    """A lock that has become somebody else's meanwhile stays theirs."""

    async def work(keeper: LoginKeeper) -> None:
        holds = [hold for _ in range(5) if (hold := await keeper.acquire(new_login(core)))]
        lost = holds[2]
        core.redis.set(login_lock_key(lost.login_id), "somebody else", px=10_000)
        await asyncio.gather(*(keeper.release(hold) for hold in holds))
        assert list(core.redis.keys("latchkey:login:*:lock")) == [login_lock_key(lost.login_id).encode()]

    on_loop(work)


def test_one_of_two_keepers_gets_the_lock(core: Core, on_loop: OnLoop) -> None:
    """The other one is told nothing but no."""

    async def work(keeper: LoginKeeper) -> None:
        login_id = new_login(core)
        taken = await asyncio.gather(*(keeper.acquire(login_id) for _ in range(10)))
        assert len([hold for hold in taken if hold]) == 1

    on_loop(work)


def test_a_lost_lock_stops_the_holder(core: Core, on_loop: OnLoop) -> None:
    """Somebody else's token in the lock, or a higher epoch in the row: OwnershipLost, and the lock is left alone."""

    async def work(keeper: LoginKeeper) -> None:
        by_lock, by_epoch = await keeper.acquire(new_login(core)), await keeper.acquire(new_login(core))
        assert by_lock is not None
        assert by_epoch is not None
        held(core, by_lock)
        held(core, by_epoch)
        core.redis.set(login_lock_key(by_lock.login_id), "somebody else", px=10_000)
        with core.transaction() as db:
            take(db, login_id=by_epoch.login_id, owner="two")
        core.redis.delete(login_lock_key(by_epoch.login_id))
        await keeper.renew_all()
        for hold in (by_lock, by_epoch):
            with pytest.raises(OwnershipLost):
                await keeper.guard(hold)
        assert core.redis.get(login_lock_key(by_lock.login_id)) == b"somebody else"
        assert core.redis.get(login_lock_key(by_epoch.login_id)) is None

    on_loop(work)


def test_a_flushed_redis_gives_the_lock_back_to_its_owner(core: Core, on_loop: OnLoop) -> None:
    """Nobody was quicker and the epoch is still ours: the next renewal restores the lock."""

    async def work(keeper: LoginKeeper) -> None:
        hold = await keeper.acquire(new_login(core))
        assert hold is not None
        held(core, hold)
        core.redis.flushdb()
        await keeper.renew_all()
        hold.check()
        assert core.redis.get(login_lock_key(hold.login_id)) == hold.token.encode()

    on_loop(work)


def test_a_holder_that_was_paused_asks_before_it_sends(core: Core, on_loop: OnLoop) -> None:
    """When the last renewal is too old to be believed, the guard looks at the lock and the row first."""

    async def work(keeper: LoginKeeper) -> None:
        hold = await keeper.acquire(new_login(core))
        assert hold is not None
        held(core, hold)
        await keeper.guard(hold)
        with core.transaction() as db:
            take(db, login_id=hold.login_id, owner="two")
        await keeper.guard(hold)  # confirmed a moment ago: no question is asked
        hold.confirmed_at -= 60
        with pytest.raises(OwnershipLost):
            await keeper.guard(hold)

    on_loop(work)


def test_an_ended_login_and_a_leaving_worker_stop_the_holder(core: Core, on_loop: OnLoop) -> None:
    """A cancelled login is over; a draining worker hands over, also what it acquires after that."""

    async def work(keeper: LoginKeeper) -> None:
        cancelled, other = await keeper.acquire(new_login(core)), await keeper.acquire(new_login(core))
        assert cancelled is not None
        assert other is not None
        held(core, cancelled)
        cancel_login(core, login_id=cancelled.login_id, reader=Reader(tenant_id="alice"))
        await keeper.renew_all()
        with pytest.raises(LoginOver):
            cancelled.check()
        await keeper.drain()
        late = await keeper.acquire(new_login(core))
        assert late is not None
        for hold in (other, late):
            with pytest.raises(HandOver):
                hold.check()

    on_loop(work)


def test_a_worker_that_is_late_asks_about_many_logins_together(
    core: Core, on_loop: OnLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its logins wants to know before it sends: one question for each would make a busy worker later still."""
    asked: list[int] = []
    really = ownership_of

    def count(db: DatabaseSession, epochs: dict[str, int]) -> dict[str, Ownership]:
        asked.append(len(epochs))
        return really(db, epochs)

    async def work(keeper: LoginKeeper) -> None:
        holds = [hold for _ in range(40) if (hold := await keeper.acquire(new_login(core)))]
        for hold in holds:
            held(core, hold)
            hold.confirmed_at -= 60
        monkeypatch.setattr("app.logins.keeper.ownership_of", count)
        await asyncio.gather(*(keeper.guard(hold) for hold in holds))
        assert sum(asked) == 40
        assert len(asked) <= 2

    on_loop(work)
