"""Starting a login: what serves, what is new, what is repeated."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, update

from app.core import Core
from app.errors import Conflict, NotFound
from app.logins.service import Reader, cancel_login, read_login, submit_code, submit_password
from app.logins.serving import NewLogin
from app.logins.start import RUN_TASK, StartedLogin, start_login
from app.models import Login
from app.sessions.claim import Account, claim_session
from app.settings import DataCentre
from app.telegram.identity import identity_for
from app.telegram.string_sessions import make_string_session
from tests.builders import Sent

USER = 7_000_001


def start(core: Core, *, tenant: str = "alice", **fields: object) -> StartedLogin:
    """Start a login with few words."""
    return start_login(core, tenant_id=tenant, request=NewLogin(**fields))  # type: ignore[arg-type]


def give_session(core: Core, *, tenant: str = "alice") -> str:
    """Give the tenant an active session of USER."""
    core.keyring.fetch(None, why="to seal a session")
    with core.transaction() as db:
        return claim_session(
            db,
            core.keyring,
            tenant_id=tenant,
            account=Account(telegram_user_id=USER, username=None, first_name="Alice", phone="+4915112345617"),
            string_session=make_string_session(auth_key=os.urandom(256), data_centre=DataCentre(2, "127.0.0.1", 4430)),
            dc_id=2,
            identity=identity_for(core.settings, {}),
            metadata={},
            validation_interval_seconds=900,
        ).session_id


def test_a_login_is_committed_before_its_task_is_sent(core: Core, sent: Sent) -> None:
    """The committed row is the truth; the message carries its id and nothing else."""
    started = start(core, telegram_user_id=USER, metadata={"order": "17"})
    assert started.status_code == 202
    assert started.login.status == "queued"
    assert started.login.metadata == {"order": "17"}
    assert sent.tasks == [(RUN_TASK, started.login.id)]


def test_an_active_session_of_the_expected_user_serves(core: Core, sent: Sent) -> None:
    """Answered with that session, reused, without a task."""
    session_id = give_session(core)
    started = start(core, telegram_user_id=USER)
    assert (started.status_code, started.login.reused, started.login.status) == (200, True, "authorized")
    assert started.login.session_id == session_id
    assert sent.tasks == []


def test_replace_asks_for_a_new_session_all_the_same(core: Core) -> None:
    """With ``replace`` an active session does not serve."""
    give_session(core)
    assert start(core, telegram_user_id=USER, replace=True).login.status == "queued"


def test_another_tenants_session_does_not_serve(core: Core) -> None:
    """Bob has no use for Alice's session."""
    give_session(core, tenant="alice")
    assert start(core, tenant="bob", telegram_user_id=USER).login.status == "queued"


def test_one_live_login_per_tenant_and_user(core: Core, sent: Sent) -> None:
    """A second POST returns the first login, with a secret that drives it."""
    first, second = start(core, telegram_user_id=USER), start(core, telegram_user_id=USER)
    assert second.login.id == first.login.id
    assert second.client_secret == first.client_secret
    assert len(sent.tasks) == 1
    assert start(core, tenant="bob", telegram_user_id=USER).login.id != first.login.id


def test_two_simultaneous_posts_make_one_login(core: Core) -> None:
    """A race of real connections: eight POSTs at once, one row."""
    with ThreadPoolExecutor(8) as pool:
        started = list(pool.map(lambda _: start(core, telegram_user_id=USER), range(8)))
    assert len({each.login.id for each in started}) == 1
    assert len({each.client_secret for each in started}) == 1
    with core.transaction() as db:
        assert db.scalar(select(func.count()).select_from(Login)) == 1


def test_logins_of_nobody_in_particular_are_all_their_own(core: Core) -> None:
    """Without an expected user every POST is a new login."""
    assert start(core).login.id != start(core).login.id


def test_a_login_is_read_by_its_tenant_or_its_secret_and_nobody_else(core: Core) -> None:
    """Another tenant's login is not there, and a secret shows its own login alone."""
    first, other = start(core), start(core)
    assert read_login(core, login_id=first.login.id, reader=Reader(tenant_id="alice")).id == first.login.id
    secret = Reader(client_secret=first.client_secret)
    assert read_login(core, login_id=first.login.id, reader=secret).id == first.login.id
    for login_id, reader in (
        (first.login.id, Reader(tenant_id="bob")),
        (other.login.id, secret),
        (first.login.id, Reader(client_secret="ls_wrong")),
        (first.login.id, Reader()),
        ("lgn_unknown", Reader(tenant_id="alice")),
    ):
        with pytest.raises(NotFound):
            read_login(core, login_id=login_id, reader=reader)


def test_cancel_ends_a_login_once(core: Core) -> None:
    """The second time it is final; its user may start anew."""
    started = start(core, telegram_user_id=USER)
    reader = Reader(tenant_id="alice")
    cancelled = cancel_login(core, login_id=started.login.id, reader=reader)
    assert (cancelled.status, cancelled.version) == ("cancelled", 2)
    with pytest.raises(Conflict) as refused:
        cancel_login(core, login_id=started.login.id, reader=reader)
    assert refused.value.code == "login_final"
    assert start(core, telegram_user_id=USER).login.id != started.login.id


def test_answers_that_nobody_asked_for_are_refused(core: Core) -> None:
    """409, and nothing of them is kept."""
    started = start(core)
    reader = Reader(tenant_id="alice")
    with pytest.raises(Conflict) as refused:
        submit_password(core, login_id=started.login.id, reader=reader, password="12345")
    assert refused.value.code == "not_waiting_for_password"
    with pytest.raises(Conflict) as refused:
        submit_code(core, login_id=started.login.id, reader=reader, code="12345")
    assert refused.value.code == "not_waiting_for_code"
    assert core.redis.keys("latchkey:login:*") == []


def test_a_password_waits_sealed_for_a_minute(core: Core) -> None:
    """One shot, under the login's own key in Redis, unreadable there, gone after 60 s."""
    started = start(core)
    with core.transaction() as db:
        db.execute(update(Login).values(status="password_required", password_attempts_left=5))
    submit_password(core, login_id=started.login.id, reader=Reader(tenant_id="alice"), password="hunter2-hunter2")
    (key,) = core.redis.keys("latchkey:login:*")
    value = core.redis.get(key)
    assert isinstance(value, bytes)
    assert b"hunter2" not in value
    assert 50_000 < core.redis.pttl(key) <= 60_000
