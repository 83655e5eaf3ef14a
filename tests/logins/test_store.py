"""The rows of logins: compare-and-set, epochs, and what is due."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.clock import utc_now
from app.core import Core
from app.errors import LoginOver, OwnershipLost
from app.logins.keeper import LOCK_SECONDS
from app.logins.serving import NewLogin
from app.logins.start import RUN_TASK, start_login
from app.logins.store import Ownership, advance, end_as_owner, end_from_outside, ownership_of, take
from app.logins.sweep import resume_orphaned_logins
from app.models import Login
from app.redis_state import login_lock_key
from tests.builders import Sent


@pytest.fixture
def login_id(core: Core) -> str:
    """A queued login of Alice's."""
    return start_login(core, tenant_id="alice", request=NewLogin()).login.id


def taken(core: Core, login_id: str, owner: str) -> Login:
    """Take a login that is live."""
    with core.transaction() as db:
        login = take(db, login_id=login_id, owner=owner)
    assert login is not None
    return login


def test_a_take_over_fences_the_owner_before(core: Core, login_id: str) -> None:
    """A write under an older epoch changes nothing and says why."""
    first, second = taken(core, login_id, "one"), taken(core, login_id, "two")
    assert second.owner_epoch == first.owner_epoch + 1
    with pytest.raises(OwnershipLost), core.transaction() as db:
        advance(db, login_id=login_id, epoch=first.owner_epoch, status="waiting_for_scan")
    with core.transaction() as db:
        assert advance(db, login_id=login_id, epoch=second.owner_epoch, status="waiting_for_scan") == 2
    with pytest.raises(OwnershipLost), core.transaction() as db:
        end_as_owner(db, login_id=login_id, status="expired", epoch=first.owner_epoch)


def test_nothing_is_written_after_the_end(core: Core, login_id: str) -> None:
    """A final login cannot be taken, advanced or ended again."""
    owner = taken(core, login_id, "one")
    with core.transaction() as db:
        assert end_from_outside(db, login_id=login_id, status="cancelled") is not None
    with core.transaction() as db:
        assert take(db, login_id=login_id, owner="two") is None
        assert end_from_outside(db, login_id=login_id, status="expired") is None
    with pytest.raises(LoginOver), core.transaction() as db:
        end_as_owner(db, login_id=login_id, status="expired", epoch=owner.owner_epoch)
    with pytest.raises(LoginOver), core.transaction() as db:
        advance(db, login_id=login_id, epoch=owner.owner_epoch, status="waiting_for_scan")


def test_one_of_many_enders_wins(core: Core, login_id: str) -> None:
    """A race of real connections: the user cancels while the worker and the sweep end it."""

    def end(status: str) -> bool:
        with core.transaction() as db:
            return end_from_outside(db, login_id=login_id, status=status) is not None

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(end, ["cancelled", "expired", "failed", "cancelled"] * 2))
    assert won.count(True) == 1


def test_ownership_tells_a_loss_from_an_end(core: Core) -> None:
    """Who lost a login must not log it out; who saw it end must. What another worker took and ended is that worker's."""
    ids = [start_login(core, tenant_id="alice", request=NewLogin()).login.id for _ in range(4)]
    epochs = {each: taken(core, each, "one").owner_epoch for each in ids}
    taken(core, ids[1], "two")
    other = taken(core, ids[3], "two")
    with core.transaction() as db:
        end_from_outside(db, login_id=ids[2], status="cancelled")
        end_as_owner(db, login_id=ids[3], epoch=other.owner_epoch, status="authorized")
    with core.transaction() as db:
        found = ownership_of(db, epochs)
    mine, over, elsewhere = Ownership.MINE, Ownership.OVER, Ownership.ELSEWHERE
    assert [found[each] for each in ids] == [mine, elsewhere, over, elsewhere]
    for login_id, error in ((ids[1], OwnershipLost), (ids[2], LoginOver), (ids[3], OwnershipLost)):
        with pytest.raises(error), core.transaction() as db:
            end_as_owner(db, login_id=login_id, epoch=epochs[login_id], status="expired")


def test_the_sweep_sends_what_nobody_holds_again(core: Core, login_id: str, sent: Sent) -> None:
    """Due and without a lock: sent; held by a worker: left alone; sent just now: left alone."""
    sent.tasks.clear()
    assert resume_orphaned_logins(core) == 0
    with core.transaction() as db:
        db.execute(update(Login).values(next_dispatch_at=utc_now() - timedelta(seconds=1)))
    core.redis.set(login_lock_key(login_id), "somebody", px=int(LOCK_SECONDS * 1000))
    assert resume_orphaned_logins(core) == 0
    core.redis.delete(login_lock_key(login_id))
    with core.transaction() as db:
        db.execute(update(Login).values(next_dispatch_at=utc_now() - timedelta(seconds=1)))
    assert resume_orphaned_logins(core) == 1
    assert sent.tasks == [(RUN_TASK, login_id)]
    assert resume_orphaned_logins(core) == 0
    with core.transaction() as db:
        assert db.scalars(select(Login.dispatches)).one() == 1
