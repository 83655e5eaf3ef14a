"""Writes of a worker's logins that share a transaction: each has its own answer, and a locked row keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from sqlalchemy import select

from app.clock import utc_now
from app.core import Core
from app.errors import LoginOver, OwnershipLost
from app.logins.rows import LoginRows
from app.logins.serving import NewLogin
from app.logins.start import start_login
from app.logins.store import end_from_outside, take
from app.logins.store_many import Write
from app.models import Login
from app.telegram.runtime import LoopThread

OnLoop = Callable[[Callable[[LoginRows], Coroutine[Any, Any, Any]]], Any]


@pytest.fixture
def on_loop(core: Core) -> Iterator[OnLoop]:
    """Runs a test's coroutine on a loop thread, with a worker's rows."""
    runtime = LoopThread()
    runtime.start()
    yield lambda work: runtime.run(work(LoginRows(core, runtime)), timeout_seconds=30)
    runtime.stop()


def started(core: Core, number: int) -> list[str]:
    """As many queued logins."""
    return [start_login(core, tenant_id="alice", request=NewLogin()).login.id for _ in range(number)]


def shown(login_id: str, epoch: int, **changes: Any) -> Write:
    """A write that shows a QR code."""
    now = utc_now()
    return Write(login_id, epoch, public=True, changes={"status": "waiting_for_scan", "qr_expires_at": now} | changes)


def row_of(core: Core, login_id: str) -> Login:
    """The row as it is."""
    with core.transaction() as db:
        return db.scalars(select(Login).where(Login.id == login_id)).one()


def test_each_of_those_who_write_together_gets_its_own_answer(core: Core, on_loop: OnLoop) -> None:
    """A new version, another worker's, one that is over; bytes, nulls and JSON as they are; two writes of one login in turn."""
    ids = started(core, 6)

    async def work(rows: LoginRows) -> list[Any]:
        taken = await asyncio.gather(*(rows.take(each) for each in ids))
        epochs = [each.login.owner_epoch for each in taken if each is not None]
        assert [each.tenant.id for each in taken if each is not None] == ["alice"] * 6
        with core.transaction() as db:
            take(db, login_id=ids[1], owner="another")
            end_from_outside(db, login_id=ids[2], status="cancelled")
        writes = [shown(login_id, epoch) for login_id, epoch in zip(ids, epochs, strict=True)]
        writes[3] = shown(
            ids[3], epochs[3], auth_key_sealed=b"\x00\xff sealed", dc_id=2, dc_host="::1", retry_after_at=None
        )
        writes[4] = Write(ids[4], epochs[4], public=False, changes={"auth_key_sealed": None, "dc_id": None})
        writes[5] = shown(ids[5], epochs[5], code={"delivery": "app"})
        return await asyncio.gather(*(rows.advance(write) for write in [*writes, writes[0]]), return_exceptions=True)

    *told, again = on_loop(work)
    assert again == 3
    assert [told[0], told[3], told[4], told[5]] == [2, 2, 1, 2]
    assert isinstance(told[1], OwnershipLost)
    assert isinstance(told[2], LoginOver)
    assert [row_of(core, each).status for each in ids[:3]] == ["waiting_for_scan", "queued", "cancelled"]
    written = row_of(core, ids[3])
    assert (written.auth_key_sealed, written.dc_host, written.retry_after_at) == (b"\x00\xff sealed", "::1", None)
    assert row_of(core, ids[5]).code == {"delivery": "app"}


def test_a_locked_row_keeps_nobody_else_waiting(core: Core, on_loop: OnLoop) -> None:
    """Somebody holds one row: the others are written at once, and that one when it is free."""
    ids = started(core, 4)
    locked, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with core.transaction() as db:
            db.scalars(select(Login).where(Login.id == ids[0]).with_for_update()).one()
            locked.set()
            may_go.wait(20)

    async def work(rows: LoginRows) -> tuple[float, list[int], int]:
        taken = [await rows.take(each) for each in ids]
        epochs = [each.login.owner_epoch for each in taken if each is not None]
        holder = threading.Thread(target=hold)
        holder.start()
        await asyncio.to_thread(locked.wait, 10)
        began = time.monotonic()
        late, *others = [
            asyncio.create_task(rows.advance(shown(login_id, epoch)))
            for login_id, epoch in zip(ids, epochs, strict=True)
        ]
        versions = list(await asyncio.gather(*others))
        seconds = time.monotonic() - began
        assert not late.done()
        may_go.set()
        version = await late
        holder.join(10)
        return seconds, versions, version

    seconds, versions, version = on_loop(work)
    assert versions == [2, 2, 2]
    assert version == 2
    assert seconds < 5
