"""Logins through the client package, in both its forms: the same calls, the same answers, the same errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from app.core import Core
from app.tenants.keys import create_api_key
from latchkey_client import AccessDenied, Conflict, InvalidRequest, Latchkey, LatchkeyUnavailable, Login, NotFound
from tests.client.doors import FORMS, open_door
from tests.client.served import ServedWeb
from tests.web.playing_worker import PlayingWorker


@pytest.fixture
def web(core: Core) -> Iterator[ServedWeb]:
    """Latchkey, listening, without workers: tests play them."""
    with ServedWeb(core.settings) as served:
        yield served


@pytest.fixture
def api_key(core: Core) -> str:
    """A key of Alice's tenant."""
    return create_api_key(core.transaction, actor="test", tenant_id="alice", scopes=("logins",)).key


@pytest.fixture(params=FORMS)
def latchkey(request: pytest.FixtureRequest, web: ServedWeb, api_key: str) -> Iterator[Latchkey]:
    """Latchkey as Alice's program reaches it, in one form and the other."""
    with open_door(request.param, web.url, api_key) as door:
        yield door


@pytest.fixture
def meanwhile() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Runs something beside the test, and waits for it at the test's end."""
    threads: list[threading.Thread] = []

    def run(what: Callable[[], object]) -> None:
        threads.append(threading.Thread(target=what, daemon=True))
        threads[-1].start()

    yield run
    for thread in threads:
        thread.join(20)


def test_a_started_login_is_waited_for(latchkey: Latchkey, core: Core) -> None:
    """start, read, QR images, a long poll that a change answers, wait; times are aware, secrets not in the repr."""
    started = latchkey.logins.start(end_user_id="alice-1", metadata={"order": 17})
    assert started.page_url.endswith(f"/login/{started.id}#{started.client_secret}")
    assert started.client_secret not in repr(started)
    assert (started.status, started.end_user_id, started.metadata) == ("queued", "alice-1", {"order": 17})
    assert started.expires_at.tzinfo is not None
    with pytest.raises(Conflict) as refused:
        latchkey.logins.qr_png(started.id)
    assert (refused.value.code, refused.value.status) == ("no_qr", 409)
    assert refused.value.request_id

    worker = PlayingWorker(core, started.id)
    url = worker.publish_qr()
    shown = latchkey.logins.next_version(started.id, version=started.version)
    assert shown.qr is not None
    assert shown.qr.url == url
    assert latchkey.logins.qr_svg(started.id).startswith(b"<svg")
    assert latchkey.logins.qr_png(started.id).startswith(b"\x89PNG")
    with pytest.raises(TimeoutError):
        latchkey.logins.wait(started.id, timeout_seconds=0.2)
    assert latchkey.logins.cancel(started.id).status == "cancelled"
    assert latchkey.logins.wait(started.id).final


def test_a_login_is_followed_to_its_end(
    latchkey: Latchkey, core: Core, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    """Each change once, in order, by long polls; the last is final."""
    started = latchkey.logins.start()
    worker = PlayingWorker(core, started.id)
    seen: list[str] = []
    for login in latchkey.logins.follow(started.id):
        seen.append(login.status)
        if login.status == "queued":
            meanwhile(worker.publish_qr)
        if login.status == "waiting_for_scan":
            meanwhile(lambda: latchkey.logins.cancel(started.id))
    assert seen == ["queued", "waiting_for_scan", "cancelled"]


def test_connect_asks_what_the_person_has_to_type(
    latchkey: Latchkey, core: Core, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    """Each change is shown; a code that cannot be right is asked for at once again, a wrong password while tries are left."""
    started = latchkey.logins.start()
    worker = PlayingWorker(core, started.id)
    codes, passwords, shown = iter(["12", "12345"]), iter(["wrong", "right"]), []
    taken: list[str] = []

    def play() -> None:
        worker.ask_code()
        taken.append(worker.take_answer("code"))
        worker.ask_password(attempts_left=5)
        taken.append(worker.take_answer("password"))
        worker.advance(password_attempts_left=4)
        taken.append(worker.take_answer("password"))
        worker.advance(status="waiting_for_scan")
        latchkey.logins.cancel(started.id)

    meanwhile(play)
    ended = latchkey.logins.connect(
        started.id,
        on_change=lambda login: shown.append(login.status),
        ask_code=lambda _: next(codes),
        ask_password=lambda login: next(passwords) if login.password and login.password.hint == "first dog" else None,
    )
    assert ended.status == "cancelled"
    assert taken == ["12345", "wrong", "right"]
    assert {"code_required", "password_required", "cancelled"} <= set(shown)


def test_what_is_refused_is_told_apart(latchkey: Latchkey, web: ServedWeb) -> None:
    """By what the caller can do about it, and with Latchkey's own code."""
    with pytest.raises(InvalidRequest) as invalid:
        latchkey.logins.start(method="code")
    assert invalid.value.errors == (("phone", "is needed with method code"),)
    for login_id in ("lgn_of_nobody", "../sessions", "..", ""):
        with pytest.raises(NotFound):
            latchkey.logins.read(login_id)
    latchkey.logins.start(idempotency_key="once")
    with pytest.raises(Conflict) as conflict:
        latchkey.logins.start(end_user_id="somebody", idempotency_key="once")
    assert conflict.value.code == "idempotency_key_reused"
    with pytest.raises(AccessDenied), open_door("blocking", web.url, "lk_wrong") as wrong:
        wrong.logins.start()


@pytest.mark.parametrize("form", FORMS)
def test_the_logins_own_secret_serves_for_it_alone(form: str, latchkey: Latchkey, web: ServedWeb) -> None:
    """It reads, switches, cancels and starts again; another login's it does not see."""
    started, other = latchkey.logins.start(), latchkey.logins.start()
    with open_door(form, web.url, None, login_secret=started.client_secret) as person:
        by_code = person.logins.switch_method(started.id, method="code", phone="+49 151 12345678")
        assert by_code.method == "code"
        assert person.logins.cancel(started.id).status == "cancelled"
        with pytest.raises(NotFound):
            person.logins.read(other.id)
        again = person.logins.again(started.id)
    assert again.id != started.id
    with pytest.raises(AccessDenied):
        latchkey.logins.again(started.id)


def test_latchkey_may_be_away_for_a_moment(latchkey: Latchkey, web: ServedWeb) -> None:
    """What may be sent again is; what may not, or stays away, is unavailable."""
    started = latchkey.logins.start()
    web.go_away()
    coming_back = threading.Timer(0.3, web.come_back)
    coming_back.start()
    assert latchkey.logins.read(started.id).id == started.id
    coming_back.join()
    web.go_away()
    with pytest.raises(LatchkeyUnavailable):
        latchkey.logins.cancel(started.id)
    web.come_back()


def test_coroutine_functions_are_asked_too(web: ServedWeb, api_key: str) -> None:
    """In the awaited form, what ``connect`` calls may be awaited."""
    seen: list[str] = []

    async def note(login: Login) -> None:
        seen.append(login.status)

    with open_door("awaited", web.url, api_key) as latchkey:
        started = latchkey.logins.start()
        latchkey.logins.cancel(started.id)
        latchkey.logins.connect(started.id, on_change=note)
    assert seen == ["cancelled"]
