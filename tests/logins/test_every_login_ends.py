"""No login lives for ever, and no log-out is tried for ever: what fails always is an end, with a reason."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from app.clock import utc_now
from app.core import Core
from app.errors import AppError
from app.logins.leaving_keys import MOST_TRIES
from app.logins.secrets import phone_place
from app.logins.service import cancel_login
from app.logins.serving import NewLogin
from app.logins.start import start_login
from app.logins.store import take
from app.logins.sweep import resume_orphaned_logins
from app.models import AuditEvent, LeavingAuthKey, Login
from app.redis_state import REDIS_FIRST_SEEN_KEY, login_lock_key
from tests.logins.stage import ALICE, Stage
from tests.waiting import wait_until


def age(core: Core, login_id: str, *, over_for: timedelta, **columns: Any) -> None:
    """Make a login one whose life ended a while ago, and whose turn it is in the sweep."""
    now = utc_now()
    with core.transaction() as db:
        db.execute(
            update(Login).where(Login.id == login_id).values(expires_at=now - over_for, next_dispatch_at=now, **columns)
        )


def status_of(core: Core, login_id: str) -> tuple[str, str | None]:
    """Status and reason as stored."""
    with core.transaction() as db:
        login = db.get_one(Login, login_id)
        return login.status, login.reason


@pytest.mark.parametrize(
    ("status", "end"),
    [
        ("queued", ("failed", "internal_error")),
        ("waiting_for_scan", ("expired", None)),
        ("password_required", ("expired", None)),
        ("code_required", ("expired", None)),
    ],
)
def test_the_sweep_ends_what_outlived_its_life(core: Core, status: str, end: tuple[str, str | None]) -> None:
    """Whatever keeps a worker from ending it; then its person can start again, and it is counted."""
    login_id = start_login(core, tenant_id="alice", request=NewLogin(telegram_user_id=17)).login.id
    age(core, login_id, over_for=timedelta(seconds=59), status=status)
    resume_orphaned_logins(core)
    assert status_of(core, login_id) == (status, None)
    age(core, login_id, over_for=timedelta(seconds=61))
    resume_orphaned_logins(core)
    assert status_of(core, login_id) == end
    assert core.registry.get_sample_value("telethon_overdue_logins_total") == 1
    assert start_login(core, tenant_id="alice", request=NewLogin(telegram_user_id=17)).login.id != login_id


def test_a_held_login_is_left_to_its_worker_for_some_minutes(core: Core) -> None:
    """It may be storing the session of a late scan; but a worker that never ends it does not keep it alive."""
    login_id = start_login(core, tenant_id="alice", request=NewLogin()).login.id
    core.redis.set(login_lock_key(login_id), "a worker", px=60_000)
    age(core, login_id, over_for=timedelta(seconds=290), status="waiting_for_scan")
    resume_orphaned_logins(core)
    assert status_of(core, login_id) == ("waiting_for_scan", None)
    age(core, login_id, over_for=timedelta(seconds=301))
    resume_orphaned_logins(core)
    assert status_of(core, login_id) == ("expired", None)


def test_a_held_login_is_looked_at_again_when_its_lock_would_end(core: Core) -> None:
    """Not every two seconds: a sweep writes to a held login once in the life of a lock."""
    login_id = start_login(core, tenant_id="alice", request=NewLogin()).login.id
    core.redis.set(login_lock_key(login_id), "a worker", px=12_000)
    with core.transaction() as db:
        db.execute(update(Login).values(next_dispatch_at=utc_now()))
    before = utc_now()
    assert resume_orphaned_logins(core) == 0
    with core.transaction() as db:
        again_at = db.scalars(select(Login.next_dispatch_at)).one()
    assert again_at is not None
    assert 10 < (again_at - before).total_seconds() < 13


def test_a_seal_that_does_not_open_ends_the_login(stage: Stage) -> None:
    """For good: no other worker could open it either. The key that cannot be logged out is given up, and audited."""
    started = stage.start()
    stage.wait_for_qr(started.login.id)
    stage.run_dispatched = False
    stage.workers[0].logins.drain()
    wait_until(lambda: stage.outcomes)
    with stage.core.transaction() as db:
        db.execute(update(Login).values(auth_key_sealed=b"not what was sealed"))
    stage.add_worker()
    stage.run(started.login.id, worker=1).join(10)
    assert status_of(stage.core, started.login.id) == ("failed", "internal_error")
    stage.log_out_left_keys(worker=1)
    assert stage.leaving_keys() == []
    with stage.core.transaction() as db:
        event = db.scalars(select(AuditEvent).where(AuditEvent.action == "login.log_out_given_up")).one()
    assert (event.subject, event.reason) == (started.login.id, "seal_broken")


def test_a_login_whose_key_is_away_is_left_to_the_sweep(stage: Stage) -> None:
    """The key may come back while the login lives: nothing is ended, and the next message tries again."""
    started = stage.start()
    url = stage.wait_for_qr(started.login.id)
    stage.run_dispatched = False
    stage.workers[0].logins.drain()
    wait_until(lambda: stage.outcomes)
    key_file = stage.settings.local_key_file
    assert key_file is not None
    keys = key_file.read_bytes()
    key_file.write_text("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")  # another key
    late = stage.add_worker()
    with pytest.raises(AppError):
        late.logins.run(started.login.id)
    assert status_of(stage.core, started.login.id)[0] == "waiting_for_scan"
    key_file.write_bytes(keys)
    stage.add_worker()
    stage.run(started.login.id, worker=2)
    assert stage.wait_for_qr(started.login.id) == url


def test_a_defect_ends_the_login(stage: Stage) -> None:
    """What the code cannot handle (here a phone that is sealed in a form of no version) is internal_error, not a loop."""
    stage.run_dispatched = False
    started = stage.start(method="code", phone="+4915112349918")
    with stage.core.transaction() as db:
        login = db.scalars(select(Login)).one()
        assert login.key_id is not None
        place = phone_place(login.tenant_id, login.id)
        sealed = stage.core.keyring.seal_under_key(login.key_id, place, b"{}")
        db.execute(update(Login).values(phone_sealed=sealed))
    stage.run(started.login.id).join(15)
    assert [each.name for each in stage.outcomes] == ["failed"]
    assert status_of(stage.core, started.login.id) == ("failed", "internal_error")


def test_a_refused_log_out_backs_off_and_is_counted(stage: Stage) -> None:
    """Refused, slowed down, unanswered: each try comes later than the one before, until it is done."""
    account = stage.telegram.create_account(password="secret")
    started = stage.start()
    stage.telegram.scan(account["id"], stage.wait_for_qr(started.login.id))
    stage.wait_for(started.login.id, "password_required")
    stage.telegram.add_fault(method="auth.logOut", error="SOMETHING_ODD", times=3)
    cancel_login(stage.core, login_id=started.login.id, reader=ALICE)
    wait_until(lambda: [key.tries for key in stage.leaving_keys()] == [1] and stage.new("connections") <= 0)
    pauses = []
    for _ in range(2):
        stage.log_out_left_keys()
        (key,) = stage.leaving_keys()
        pauses.append((key.next_try_at - utc_now()).total_seconds())
    assert 10 < pauses[0] < 16
    assert 55 < pauses[1] < 61
    assert len(stage.telegram.authorizations(account["id"])) == 1
    stage.log_out_left_keys()
    assert stage.telegram.authorizations(account["id"]) == []
    assert stage.leaving_keys() == []
    registry = stage.workers[0].core.registry
    counted = {
        outcome: registry.get_sample_value("telethon_key_log_outs_total", {"outcome": outcome})
        for outcome in ("put_off", "done")
    }
    assert counted == {"put_off": 2, "done": 1}


def test_a_log_out_that_is_refused_for_a_day_is_given_up(stage: Stage) -> None:
    """It ends, the audit says so, and its data key may retire."""
    started = stage.start()
    stage.wait_for_qr(started.login.id)
    stage.telegram.add_fault(method="auth.logOut", error="SOMETHING_ODD", times=2)
    cancel_login(stage.core, login_id=started.login.id, reader=ALICE)
    wait_until(lambda: stage.new("connections") <= 0)
    with stage.core.transaction() as db:
        db.execute(update(LeavingAuthKey).values(tries=MOST_TRIES - 1))
    stage.log_out_left_keys()
    assert stage.leaving_keys() == []
    with stage.core.transaction() as db:
        event = db.scalars(select(AuditEvent).where(AuditEvent.action == "login.log_out_given_up")).one()
    assert (event.subject, event.reason, event.details["tries"]) == (started.login.id, "refused", MOST_TRIES)


def test_a_second_message_after_a_flush_takes_no_lock_away(stage: Stage) -> None:
    """The worker that drives the login asks Redis nothing when a message for the same login comes: it has the login."""
    started = stage.start()
    stage.wait_for_qr(started.login.id)
    with stage.core.transaction() as db:
        before = db.get_one(Login, started.login.id)
    stage.core.redis.flushdb()
    stage.run(started.login.id).join(5)
    assert [each.name for each in stage.outcomes] == ["not_mine"]
    assert stage.core.redis.get(login_lock_key(started.login.id)) is None
    wait_until(lambda: stage.core.redis.get(login_lock_key(started.login.id)), within_seconds=7)
    stage.wait_for_qr(started.login.id)
    with stage.core.transaction() as db:
        after = db.get_one(Login, started.login.id)
    assert (after.owner, after.owner_epoch) == (before.owner, before.owner_epoch)


def test_a_sweep_after_a_flush_takes_no_login_away(stage: Stage) -> None:
    """A Redis that has just lost everything knows no locks: those who drive logins get a lock's life to put theirs back."""
    started = stage.start()
    stage.wait_for_qr(started.login.id)
    with stage.core.transaction() as db:
        before = db.get_one(Login, started.login.id)
    for _ in range(2):
        stage.core.redis.flushdb()
        with stage.core.transaction() as db:
            db.execute(update(Login).values(next_dispatch_at=func.now()))
        assert resume_orphaned_logins(stage.core) == 0
    wait_until(lambda: stage.core.redis.get(login_lock_key(started.login.id)), within_seconds=7)
    with stage.core.transaction() as db:
        after = db.get_one(Login, started.login.id)
    assert (after.owner, after.owner_epoch) == (before.owner, before.owner_epoch)
    assert after.next_dispatch_at is not None
    assert after.next_dispatch_at > utc_now()


def test_a_login_that_a_dead_worker_left_is_sent_again_once_redis_can_tell(core: Core) -> None:
    """And one that no worker ever took at once, however new Redis is."""
    taken, fresh = (start_login(core, tenant_id="alice", request=NewLogin()).login.id for _ in range(2))
    due = update(Login).values(next_dispatch_at=func.now())
    with core.transaction() as db:
        take(db, login_id=taken, owner="one")
        db.execute(due)
    assert resume_orphaned_logins(core) == 1
    with core.transaction() as db:
        assert db.get_one(Login, fresh).dispatches == 1
        db.execute(due.where(Login.id == taken))
    core.redis.set(REDIS_FIRST_SEEN_KEY, int(time.time() * 1000) - 15_001)
    assert resume_orphaned_logins(core) == 1
    with core.transaction() as db:
        assert db.get_one(Login, taken).dispatches == 1
