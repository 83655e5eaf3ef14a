"""POST /v1/logins."""

from __future__ import annotations

import http.client
import json
import re
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from app.core import Core
from app.models import Login, TelegramSession
from tests.web.callers import Caller, members, problem, with_key
from tests.web.conftest import MakeClient
from tests.web.live import Live
from tests.web.playing_worker import PlayingWorker

PAGE_URL = re.compile(r"https://latchkey\.example/login/(lgn_\w+)#(ls_[\w-]+)")


def test_start_answers_with_the_login_and_what_the_browser_needs(alice: Caller) -> None:
    """202, the Login, its secret, the page with the secret in its fragment, and where to look next."""
    answer = alice.post("/v1/logins", {"telegram_user_id": 42, "metadata": {"order": "7", "n": 1, "ok": None}})
    assert answer.status_code == 202
    login = members(answer)
    assert login["status"] == "queued"
    assert login["metadata"] == {"order": "7", "n": 1, "ok": None}
    assert login["version"] == 1
    assert login["reused"] is False
    assert login["created_at"].endswith("Z")
    assert answer.headers["Location"] == f"/v1/logins/{login['id']}"
    page = PAGE_URL.fullmatch(login["page_url"])
    assert page is not None
    assert page.groups() == (login["id"], login["client_secret"])


def test_everything_may_be_left_out(alice: Caller) -> None:
    """An empty body, and an empty object, start a login for anybody."""
    assert alice.client.post("/v1/logins", headers=alice.headers).status_code == 202
    assert alice.start_login()["telegram_user_id"] is None


def test_a_second_start_joins_the_live_login(alice: Caller) -> None:
    """One live login per user: the second POST is answered with the first login."""
    assert alice.start_login(telegram_user_id=42)["id"] == alice.start_login(telegram_user_id=42)["id"]


def test_an_active_session_serves(alice: Caller, core: Core) -> None:
    """200 with reused: true and the session, when the user has an active one."""
    with core.transaction() as db:
        db.add(TelegramSession(id="ses_1", tenant_id="alice", telegram_user_id=42, dc_id=2, status="active"))
    answer = alice.post("/v1/logins", {"telegram_user_id": 42})
    assert answer.status_code == 200
    assert (members(answer)["reused"], members(answer)["session_id"]) == (True, "ses_1")
    assert members(answer)["status"] == "authorized"


def test_the_phone_is_stored_sealed_only(alice: Caller, core: Core) -> None:
    """A phone number is in the row, and not in the open."""
    login = alice.start_login(method="code", phone="+15551234567")
    with core.transaction() as db:
        row = db.get_one(Login, login["id"])
    assert row.phone_sealed is not None
    assert b"15551234567" not in row.phone_sealed


@pytest.mark.parametrize("typed", ["+999662 0001", "00999662-0001", "9996620001", "+\u0669\u0669\u0669\u0666620001"])
def test_a_number_is_taken_in_any_form(alice: Caller, typed: str) -> None:
    """Test numbers too, which no numbering plan knows; one number is one request, however it is typed."""
    first = alice.post("/v1/logins", {"method": "code", "phone": "+9996620001"}, Idempotency_Key="k1")
    again = alice.post("/v1/logins", {"method": "code", "phone": typed}, Idempotency_Key="k1")
    assert again.status_code == 202, again.text
    assert members(again)["id"] == members(first)["id"]


@pytest.mark.parametrize("typed", ["home", "0151 1234567", "5551234", "+1 555 123 4567 ext. 8", "+1 555 123 4567, 8"])
def test_what_is_no_number_is_told_what_to_do(alice: Caller, typed: str) -> None:
    """422, with an example, and without the number."""
    refused = problem(alice.post("/v1/logins", {"method": "code", "phone": typed}), 422, "invalid_request")
    assert "must be an international number" in refused["errors"][0]["message"]
    assert typed not in str(refused)


def test_an_idempotency_key_replays_the_first_answer(alice: Caller) -> None:
    """The same key with the same body is the same login; with another body it is refused."""
    first = alice.post("/v1/logins", {}, Idempotency_Key="k1")
    again = alice.post("/v1/logins", {}, Idempotency_Key="k1")
    assert (again.status_code, members(again)["id"]) == (first.status_code, members(first)["id"])
    assert members(again)["client_secret"] == members(first)["client_secret"]
    problem(alice.post("/v1/logins", {"locale": "ru"}, Idempotency_Key="k1"), 409, "idempotency_key_reused")


def test_a_login_that_is_joined_comes_with_its_code(alice: Caller, core: Core) -> None:
    """Whoever joins a login that waits for its scan can draw the QR code at once, and need not wait for the next."""
    first = alice.start_login(telegram_user_id=42)
    url = PlayingWorker(core, first["id"]).publish_qr()
    again = alice.start_login(telegram_user_id=42)
    assert (again["id"], again["status"]) == (first["id"], "waiting_for_scan")
    assert again["qr"]["url"] == url


@pytest.mark.parametrize("key", ["", "x" * 256, "na\u00efve"])
def test_an_idempotency_key_is_short_and_printable(alice: Caller, key: str) -> None:
    """At most 255 printable characters."""
    refused = problem(alice.post("/v1/logins", {}, Idempotency_Key=key), 422, "invalid_request")
    assert refused["errors"][0]["field"] == "Idempotency-Key"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"telegram_user_id": 0}, "telegram_user_id"),
        ({"telegram_user_id": -1}, "telegram_user_id"),
        ({"telegram_user_id": 2**63}, "telegram_user_id"),
        ({"telegram_user_id": "42"}, "telegram_user_id"),
        ({"telegram_user_id": True}, "telegram_user_id"),
        ({"telegram_user_id": 4.5}, "telegram_user_id"),
        ({"method": "sms"}, "method"),
        ({"method": "code"}, "phone"),
        ({"method": "code", "phone": "5551234"}, "phone"),
        ({"method": "code", "phone": "+0551234567"}, "phone"),
        ({"method": "code", "phone": "+1555123456789012"}, "phone"),
        ({"method": "qr", "phone": "+15551234567"}, "phone"),
        ({"replace": "yes"}, "replace"),
        ({"locale": "../../etc"}, "locale"),
        ({"locale": "x" * 36}, "locale"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"metadata": {"k" * 41: ""}}, "metadata." + "k" * 41),
        ({"metadata": {"a": "v" * 501}}, "metadata.a"),
        ({"metadata": {"a": {"b": 1}}}, "metadata.a"),
        ({"metadata": {"a": "\0"}}, "metadata.a"),
        ({"metadata": {"\0": "a"}}, "metadata.\0"),
        ({"telegram_userid": 42}, "telegram_userid"),
    ],
)
def test_a_bad_field_is_named(alice: Caller, body: dict[str, Any], field: str) -> None:
    """422, and errors says which field and why, without repeating its value."""
    refused = problem(alice.post("/v1/logins", body), 422, "invalid_request")
    assert [error["field"] for error in refused["errors"]] == [field]
    assert refused["errors"][0]["message"]


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"{", "line 1 column 2"),
        (b'{"a": NaN}', "NaN"),
        (b'{"replace": true, "replace": false}', "twice"),
        ("{}".encode("utf-16"), "UTF-8"),
        (b'{"telegram_user_id": ' + b"9" * 5000 + b"}", "more than 100 digits"),
        (b"\xff", "UTF-8"),
        (b"[" * 60_000, "nested"),
        (b'{"telegram_user_id": ' + b"9" * 5000 + b"}", "JSON"),
    ],
)
def test_a_body_that_is_not_json_is_told_why(alice: Caller, raw: bytes, says: str) -> None:
    """400 with a sentence."""
    answer = alice.client.post("/v1/logins", data=raw, headers=alice.headers, content_type="application/json")
    assert says in problem(answer, 400, "bad_request")["detail"]


def test_a_body_that_is_no_object_is_refused(alice: Caller) -> None:
    """422 for an array."""
    problem(alice.post("/v1/logins", [1]), 422, "invalid_request")


@pytest.mark.parametrize("value", [b"1e999", rb'"\ud800"'])
def test_what_json_can_spell_and_postgresql_cannot_keep_is_refused(alice: Caller, value: bytes) -> None:
    """422 for a number beyond a double, and for half a character."""
    raw = b'{"metadata": {"a": ' + value + b"}}"
    answer = alice.client.post("/v1/logins", data=raw, headers=alice.headers, content_type="application/json")
    problem(answer, 422, "invalid_request")


@pytest.mark.parametrize(
    "raw", [rb'{"\ud800": 1}', rb'{"metadata": {"\ud800": 1}}', rb'{"metadata": {"a": {"\udfff": 1}}}']
)
def test_a_name_that_cannot_be_told_is_refused_all_the_same(alice: Caller, raw: bytes) -> None:
    """422, not a fault of ours, when the field's name is half a character."""
    answer = alice.client.post("/v1/logins", data=raw, headers=alice.headers, content_type="application/json")
    problem(answer, 422, "invalid_request")


def test_a_body_that_is_called_something_else_is_refused(alice: Caller) -> None:
    """415 for a form."""
    answer = alice.client.post("/v1/logins", data={"method": "qr"}, headers=alice.headers)
    problem(answer, 415, "unsupported_media_type")


def test_a_large_body_in_chunks_is_refused(live: Live) -> None:
    """413 also when no length was told, and although the first 64 KiB are a whole JSON object."""
    headers = {**live.headers, "Content-Type": "application/json"}
    for size, status in ((65_536, 202), (65_537, 413)):
        chunks = iter([b"{}", b" " * (size - 2)])
        assert requests.post(f"{live.url}/v1/logins", data=chunks, headers=headers, timeout=10).status_code == status


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 24\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nmany\r\n{}\r\n0\r\n\r\n"],
    ids=["cut short", "bad chunks"],
)
def test_a_body_that_does_not_come_whole_is_refused(live: Live, framing: bytes) -> None:
    """400: a body that was cut off before its first byte is not an empty one, which would start a login for anybody."""
    address = urlsplit(live.url)
    head = f"POST /v1/logins HTTP/1.1\r\nHost: x\r\nAuthorization: {live.headers['Authorization']}\r\n"
    with socket.create_connection((str(address.hostname), address.port), timeout=10) as connection:
        connection.sendall(head.encode() + b"Content-Type: application/json\r\n" + framing)
        connection.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["code"]) == (400, "bad_request")


@pytest.mark.parametrize("path", ["/v1/logins", "/v1/logins/lgn_1"])
def test_a_large_body_is_refused(alice: Caller, path: str) -> None:
    """413 over 64 KiB, wherever it is sent."""
    answer = alice.client.open(path, method="POST", data=b" " * 65_537, headers=alice.headers)
    problem(answer, 413, "body_too_large")


def test_start_needs_a_key_with_the_scope(alice: Caller, charlie: Caller, nobody: Caller, core: Core) -> None:
    """401 without a valid key, 403 without the scope."""
    refused = nobody.post("/v1/logins")
    problem(refused, 401, "unauthenticated")
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    problem(nobody.post("/v1/logins", Authorization="Bearer lk_wrong"), 401, "unauthenticated")
    problem(nobody.post("/v1/logins", Authorization="Basic YTpi"), 401, "unauthenticated")
    problem(nobody.post("/v1/logins", Login_Secret="ls_x"), 401, "unauthenticated")
    problem(charlie.post("/v1/logins"), 403, "forbidden")


def test_starts_are_limited_per_tenant(make_client: MakeClient, alice: Caller, bob: Caller) -> None:
    """The fourth of three a minute is 429 with Retry-After, for all keys of the tenant and for nobody else."""
    client, parts = make_client(login_rate_per_minute=3)
    first, second = (with_key(client, parts.core, tenant_id="alice") for _ in range(2))
    assert [caller.post("/v1/logins").status_code for caller in (first, second, first)] == [202, 202, 202]
    refused = second.post("/v1/logins")
    problem(refused, 429, "rate_limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["RateLimit-Policy"] == '"logins";q=3;w=60'
    assert refused.headers["RateLimit"].startswith('"logins";r=0;t=')
    bobs = Caller(client, "bob", bob.headers)
    answer = bobs.post("/v1/logins")
    assert answer.status_code == 202
    assert answer.headers["RateLimit"].startswith('"logins-per-key";r=2;t=')


def test_starts_fail_closed_without_redis(make_client: MakeClient, alice: Caller) -> None:
    """503 with Retry-After while the limits cannot be checked."""
    client, _ = make_client(redis_url="redis://127.0.0.1:1/0")
    refused = Caller(client, "alice", alice.headers).post("/v1/logins")
    problem(refused, 503, "unavailable")
    assert int(refused.headers["Retry-After"]) > 0


def test_starts_are_503_without_postgresql(make_client: MakeClient, alice: Caller) -> None:
    """503 with Retry-After while nothing can be stored."""
    client, _ = make_client(database_url="postgresql+psycopg2://postgres@127.0.0.1:1/none")
    refused = Caller(client, "alice", alice.headers).post("/v1/logins")
    problem(refused, 503, "unavailable")
    assert int(refused.headers["Retry-After"]) > 0
