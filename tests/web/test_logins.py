"""What may be asked of a login under way: look, draw its QR code, answer, cancel."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import event
from werkzeug.test import TestResponse

from app.core import Core
from app.logins.secrets import RESEND
from app.redis_state import login_inbox_key
from tests.web.callers import Caller, members, problem, with_key
from tests.web.conftest import MakeClient
from tests.web.playing_worker import PlayingWorker

PNG = b"\x89PNG\r\n\x1a\n"

ROUTES = [
    ("GET", ""),
    ("GET", "?wait=1"),
    ("GET", "/events"),
    ("GET", "/qr.svg"),
    ("GET", "/qr.png"),
    ("POST", "/password"),
    ("POST", "/code"),
    ("POST", "/code/resend"),
    ("DELETE", ""),
]
BODIES = {"/password": {"password": "x"}, "/code": {"code": "1"}}


def secret_of(login: dict[str, object], nobody: Caller) -> Caller:
    """The browser that holds a login's secret."""
    return Caller(nobody.client, "", {"Login-Secret": str(login["client_secret"])})


@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_only_the_tenant_and_the_secrets_holder_see_a_login(
    alice: Caller, bob: Caller, charlie: Caller, nobody: Caller, method: str, route: str
) -> None:
    """Another tenant's is 404, another login's secret is 404, no scope 403, no credential 401."""
    login, other = alice.start_login(), alice.start_login()

    def call(caller: Caller) -> TestResponse:
        return caller.call(method, f"/v1/logins/{login['id']}{route}", BODIES.get(route))

    problem(call(bob), 404, "not_found")
    problem(call(secret_of(other, nobody)), 404, "not_found")
    problem(call(charlie), 403, "forbidden")
    problem(call(nobody), 401, "unauthenticated")


def test_the_secrets_holder_sees_and_drives_the_login(alice: Caller, nobody: Caller, core: Core) -> None:
    """With Login-Secret a browser reads, answers and cancels this one login, and starts none."""
    login = alice.start_login()
    browser, path = secret_of(login, nobody), f"/v1/logins/{login['id']}"
    assert members(browser.get(path))["id"] == login["id"]
    assert "client_secret" not in members(browser.get(path))
    PlayingWorker(core, login["id"]).ask_password()
    assert browser.post(path + "/password", {"password": "right"}).status_code == 202
    assert members(browser.delete(path))["status"] == "cancelled"


def test_there_is_no_such_login(alice: Caller) -> None:
    """404 for an unknown id, and for what cannot be one."""
    problem(alice.get("/v1/logins/lgn_none"), 404, "not_found")
    problem(alice.get("/v1/logins/%00"), 404, "not_found")
    problem(alice.get("/v1/logins/" + "x" * 81), 404, "not_found")


@pytest.mark.parametrize(
    "query", ["wait=31", "wait=-1", "wait=x", "wait=nan", "version=-1", "version=x", "version=1.5", "waiting=1"]
)
def test_a_bad_query_is_named(alice: Caller, query: str) -> None:
    """422 for a wait beyond 30 s, a negative version, an unknown parameter."""
    refused = problem(alice.get(f"/v1/logins/{alice.start_login()['id']}?{query}"), 422, "invalid_request")
    assert refused["errors"][0]["field"] == query.partition("=")[0]


def test_a_wait_answers_at_once_when_the_caller_is_behind(alice: Caller) -> None:
    """Version 0 is behind already."""
    started = time.monotonic()
    assert alice.get(f"/v1/logins/{alice.start_login()['id']}?wait=20&version=0").status_code == 200
    assert time.monotonic() - started < 10


def test_the_qr_code_is_the_current_token(alice: Caller, core: Core) -> None:
    """The Login has its URL, and both images exist while it lives."""
    login = alice.start_login()
    path = f"/v1/logins/{login['id']}"
    problem(alice.get(path + "/qr.svg"), 409, "no_qr")
    worker = PlayingWorker(core, login["id"])
    url = worker.publish_qr()
    seen = members(alice.get(path))
    assert (seen["status"], seen["qr"]["url"]) == ("waiting_for_scan", url)
    svg, png = alice.get(path + "/qr.svg"), alice.get(path + "/qr.png")
    assert (svg.mimetype, svg.text[:4]) == ("image/svg+xml", "<svg")
    assert (png.mimetype, png.data[:8]) == ("image/png", PNG)
    assert svg.headers["Cache-Control"] == png.headers["Cache-Control"] == "no-store"
    drawn = svg.text
    worker.publish_qr()
    assert alice.get(path + "/qr.svg").text != drawn
    worker.ask_password()
    problem(alice.get(path + "/qr.png"), 409, "no_qr")


def test_a_token_that_died_is_not_shown(alice: Caller, core: Core) -> None:
    """An expired token is no QR code, whatever Redis still has."""
    login = alice.start_login()
    PlayingWorker(core, login["id"]).publish_qr(life_seconds=-1, kept_seconds=30)
    assert members(alice.get(f"/v1/logins/{login['id']}"))["qr"] is None


def test_a_password_is_passed_on_once_and_sealed(alice: Caller, core: Core) -> None:
    """202, and the worker finds it in Redis, not in the open."""
    login = alice.start_login()
    path = f"/v1/logins/{login['id']}/password"
    problem(alice.post(path, {"password": "x"}), 409, "not_waiting_for_password")
    worker = PlayingWorker(core, login["id"])
    worker.ask_password()
    answer = alice.post(path, {"password": "correct horse"})
    assert (answer.status_code, members(answer)["status"]) == (202, "password_required")
    for key in core.redis.scan_iter(f"latchkey:login:{login['id']}:*"):
        assert b"correct horse" not in (core.redis.get(key) or b"")
    assert worker.take_answer("password") == "correct horse"


def test_a_code_is_passed_on(alice: Caller, core: Core) -> None:
    """202 while the login waits for a code."""
    login = alice.start_login(method="code", phone="+15551234567")
    path = f"/v1/logins/{login['id']}/code"
    problem(alice.post(path, {"code": "12345"}), 409, "not_waiting_for_code")
    worker = PlayingWorker(core, login["id"])
    worker.ask_code()
    assert members(alice.get(f"/v1/logins/{login['id']}"))["code"] == {
        "delivery": "app",
        "length": 5,
        "attempts_left": 3,
    }
    assert alice.post(path, {"code": "12345"}).status_code == 202
    assert worker.take_answer("code") == "12345"


def test_a_code_is_asked_for_once_more(alice: Caller, core: Core) -> None:
    """202 while the login waits for a code, 409 otherwise. No word that is typed as the code asks for it."""
    login = alice.start_login(method="code", phone="+15551234567")
    path = f"/v1/logins/{login['id']}/code/resend"
    problem(alice.post(path, {}), 409, "not_waiting_for_code")
    worker = PlayingWorker(core, login["id"])
    worker.ask_code()
    assert alice.post(path, {}).status_code == 202
    assert worker.take_answer("code") == RESEND
    problem(alice.post(f"/v1/logins/{login['id']}/code", {"code": "resend"}), 422, "invalid_request")


def test_a_code_is_passed_on_as_telegram_sent_it(alice: Caller, core: Core) -> None:
    """However it was typed; one of another length is 422, is not repeated, and never reaches the worker."""
    login = alice.start_login(method="code", phone="0049 (151) 123-456.78")
    path = f"/v1/logins/{login['id']}/code"
    worker = PlayingWorker(core, login["id"])
    worker.ask_code()
    refused = problem(alice.post(path, {"code": "987 654"}), 422, "invalid_request")
    assert [each["field"] for each in refused["errors"]] == ["code"]
    assert "987" not in str(refused)
    assert core.redis.get(login_inbox_key(login["id"], "code")) is None
    assert alice.post(path, {"code": "1 2-3\u200e 4 5\n"}).status_code == 202
    assert worker.take_answer("code") == "12345"


@pytest.mark.parametrize("kind", ["password", "code"])
def test_an_answer_of_the_browser_takes_one_transaction(alice: Caller, nobody: Caller, core: Core, kind: str) -> None:
    """Whose the login is, whether more may be typed and what is asked are known from one look at the row."""
    login = alice.start_login(method="code", phone="+15551234567")
    worker = PlayingWorker(core, login["id"])
    if kind == "code":
        worker.ask_code()
    else:
        worker.ask_password()
    begun: list[object] = []

    def count(connection: object) -> None:
        begun.append(connection)

    event.listen(core.engine, "begin", count)
    answer = secret_of(login, nobody).post(f"/v1/logins/{login['id']}/{kind}", {kind: "12345"})
    event.remove(core.engine, "begin", count)
    assert answer.status_code == 202
    assert len(begun) == 1


def test_a_password_stays_byte_for_byte(alice: Caller, core: Core) -> None:
    """No space is cut off, and no character is brought into another form."""
    typed = "  pass\u00a0wo\uff11rd\u200d\n "
    login = alice.start_login()
    worker = PlayingWorker(core, login["id"])
    worker.ask_password()
    assert alice.post(f"/v1/logins/{login['id']}/password", {"password": typed}).status_code == 202
    assert worker.take_answer("password") == typed


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/password", {}),
        ("/password", {"password": ""}),
        ("/password", {"password": "x" * 1025}),
        ("/password", {"password": 7}),
        ("/password", {"password": "x", "extra": 1}),
        ("/code", {"code": ""}),
        ("/code", {"code": "1" * 33}),
    ],
)
def test_a_bad_answer_is_refused_and_not_repeated(alice: Caller, route: str, body: dict[str, object]) -> None:
    """422, and what was typed is not in the problem."""
    refused = alice.post(f"/v1/logins/{alice.start_login()['id']}{route}", body)
    problem(refused, 422, "invalid_request")
    assert "xxx" not in refused.text


@pytest.mark.parametrize("kind", ["password", "code"])
def test_an_answer_that_cannot_be_sent_to_telegram_is_refused(alice: Caller, kind: str) -> None:
    """422 for half a character, which JSON can spell and UTF-8 cannot: it must not get as far as the worker."""
    refused = alice.client.post(
        f"/v1/logins/{alice.start_login()['id']}/{kind}",
        data=f'{{"{kind}": "xxx\\ud800"}}',
        headers=alice.headers,
        content_type="application/json",
    )
    assert problem(refused, 422, "invalid_request")["errors"][0]["field"] == kind
    assert "xxx" not in refused.text


def test_answers_are_limited_per_login(make_client: MakeClient, alice: Caller, bob: Caller) -> None:
    """Two of a kind a minute for one login; other logins, kinds and whoever may not read it do not count against it."""
    client, parts = make_client(strict_rate_per_minute=2)
    caller = with_key(client, parts.core, tenant_id="alice")
    stranger = Caller(client, "bob", bob.headers)
    login, other = caller.start_login(), caller.start_login()
    for started in (login, other):
        PlayingWorker(parts.core, started["id"]).ask_password()
    path = f"/v1/logins/{login['id']}/password"
    for _ in range(3):
        problem(stranger.post(path, {"password": "x"}), 404, "not_found")
    statuses = [caller.post(path, {"password": "x"}).status_code for _ in range(3)]
    assert statuses == [202, 202, 429]
    refused = caller.post(path, {"password": "x"})
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.headers["RateLimit-Policy"] == '"passwords";q=2;w=60'
    assert caller.post(f"/v1/logins/{other['id']}/password", {"password": "x"}).status_code == 202
    problem(caller.post(f"/v1/logins/{login['id']}/code", {"code": "1"}), 409, "not_waiting_for_code")


def test_answers_are_limited_per_address_of_browsers(make_client: MakeClient, alice: Caller, nobody: Caller) -> None:
    """One address has a bounded number of tries over all logins; the tenant's own server is not counted by it."""
    logins = [alice.start_login() for _ in range(3)]
    client, parts = make_client(login_rate_per_minute=2)
    statuses = []
    for login in logins:
        PlayingWorker(parts.core, login["id"]).ask_password()
        browser = Caller(client, "", {"Login-Secret": login["client_secret"]})
        statuses.append(browser.post(f"/v1/logins/{login['id']}/password", {"password": "x"}).status_code)
    assert statuses == [202, 202, 429]
    server = Caller(client, "alice", alice.headers)
    assert server.post(f"/v1/logins/{logins[2]['id']}/password", {"password": "x"}).status_code == 202


def test_a_cancelled_login_is_final(alice: Caller) -> None:
    """200 with the cancelled Login; a second time 409."""
    path = f"/v1/logins/{alice.start_login()['id']}"
    assert members(alice.delete(path))["status"] == "cancelled"
    problem(alice.delete(path), 409, "login_final")
    assert members(alice.get(path))["status"] == "cancelled"
