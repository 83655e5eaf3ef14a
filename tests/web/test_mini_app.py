"""``GET /miniapp`` and ``POST /miniapp/logins``: only what Telegram signed lately begins a login, and only its own."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import parse_qsl, quote, urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask.testing import FlaskClient
from pydantic import SecretStr

from app.clock import utc_now
from app.logins.mini_app import InitDataInvalid, verify_init_data
from app.models import AuditEvent, Login, Tenant
from app.settings import Settings
from app.tenants.store import create_tenant, disable_tenant
from tests.web.callers import Caller, members, problem
from tests.web.conftest import MakeClient
from tests.web.init_data import BOT_ID, BOT_TOKEN, init_data, sign_by_telegram, sign_by_token, unsigned
from tests.web.playing_worker import PlayingWorker
from web.parts import Parts

Opened = tuple[Caller, Parts]


@pytest.fixture
def opened(make_client: MakeClient) -> Opened:
    """A Mini App of Alice's bot, and somebody in it, beside Bob's tenant."""
    client, parts = make_client(
        telegram_bot_token=SecretStr(BOT_TOKEN), miniapp_tenant_id="alice", strict_rate_per_minute=5
    )
    for name in ("alice", "bob"):
        create_tenant(parts.core.transaction, actor="test", tenant_id=name, name=name.capitalize())
    return Caller(client, "", {}), parts


def test_the_page_inside_telegram_runs_telegrams_script_and_no_other(opened: Opened) -> None:
    """The policy names that one script on this page alone; Telegram's own pages may embed it."""
    page = opened[0].get("/miniapp")
    assert page.status_code == 200
    policy = page.headers["Content-Security-Policy"]
    assert re.search(r"script-src 'nonce-[\w-]+' https://telegram\.org/js/telegram-web-app\.js;", policy)
    assert policy.endswith("frame-ancestors https://*.telegram.org")
    assert "Alice wants to connect your Telegram account" in re.sub("</?bdi>", "", page.text)
    ordinary = opened[0].get("/login/lgn_x")
    assert "telegram.org" not in ordinary.headers["Content-Security-Policy"]
    assert "telegram-web-app" not in ordinary.text


def test_without_a_bot_there_is_no_mini_app(nobody: Caller) -> None:
    """Neither of the two."""
    problem(nobody.get("/miniapp"), 404, "not_found")
    problem(nobody.post("/miniapp/logins", {"init_data": init_data()}), 404, "not_found")


def test_init_data_starts_the_login_of_its_user(opened: Opened) -> None:
    """Only that account may log in; the language is the one that Telegram names, the start parameter goes to the tenant."""
    caller, parts = opened
    answer = caller.post("/miniapp/logins", {"init_data": init_data(start_param="offer-7")})
    assert answer.status_code == 202, answer.text
    login = members(answer)
    assert login["telegram_user_id"] == 42
    assert login["page_url"] == f"https://latchkey.example/login/{login['id']}#{login['client_secret']}"
    assert answer.headers["Location"] == f"/v1/logins/{login['id']}"
    shown = caller.get(f"/v1/logins/{login['id']}", Login_Secret=login["client_secret"])
    assert members(shown)["status"] == "queued"
    with parts.core.transaction() as db:
        row = db.get_one(Login, login["id"])
        assert (row.tenant_id, row.locale) == ("alice", "pt-br")
        assert row.client_metadata == {"start_param": "offer-7"}
        event = db.query(AuditEvent).filter_by(subject=row.id, action="login.started").one()
        assert event.actor == "mini-app"


def test_the_same_init_data_is_answered_with_the_same_login(opened: Opened) -> None:
    """Whatever order and spelling its fields come in, and however the login has ended meanwhile: it starts no other."""
    caller, parts = opened
    text = init_data()
    first = members(caller.post("/miniapp/logins", {"init_data": text}))
    PlayingWorker(parts.core, first["id"]).finish("expired")
    turned = urlencode(list(reversed(parse_qsl(text))), quote_via=quote)
    in_capitals = re.sub(r"hash=(\w+)", lambda match: f"hash={match[1].upper()}", text)
    for again in (text, turned, in_capitals):
        answer = members(caller.post("/miniapp/logins", {"init_data": again}))
        assert (answer["id"], answer["client_secret"]) == (first["id"], first["client_secret"])
        assert answer["status"] == "expired"
    later = members(caller.post("/miniapp/logins", {"init_data": init_data(query_id="another")}))
    assert later["id"] != first["id"]


def test_one_init_data_sent_twice_at_once_starts_one_login(opened: Opened) -> None:
    """Real connections race; more of them than one person may start logins in a minute."""
    caller, body = opened[0], {"init_data": init_data()}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: members(caller.post("/miniapp/logins", body)), range(8)))
    assert len({answer["id"] for answer in answers}) == 1


@pytest.mark.parametrize(
    "text",
    [
        sign_by_token(unsigned(), token=f"{BOT_ID}:another"),
        init_data().replace("42", "43"),
        init_data() + "&user=%7B%22id%22%3A43%2C%22first_name%22%3A%22Eve%22%7D",
        init_data(user_id=0),
        urlencode(unsigned()),
        "hash=" + "0" * 64,
        "not a query string",
        "%ff%00",
        f"auth_date=1&hash={'0' * 64}&user={'[' * 8000}",
        f"auth_date=1&hash={'0' * 64}&user={'9' * 5000}",
    ],
    ids=[
        "another bot",
        "changed",
        "a second user",
        "no user",
        "unsigned",
        "only a hash",
        "text",
        "bytes",
        "deep",
        "long",
    ],
)
def test_what_telegram_did_not_sign_is_refused(opened: Opened, text: str) -> None:
    """With one answer for all of it: what is wrong is an attacker's business."""
    problem(opened[0].post("/miniapp/logins", {"init_data": text}), 401, "init_data_invalid")


def test_init_data_is_fresh(opened: Opened) -> None:
    """An hour old at most; ahead of our clock by a minute at most. A forged one is not told that it is merely old."""
    caller = opened[0]

    def post(text: str) -> tuple[int, str]:
        answer = caller.post("/miniapp/logins", {"init_data": text})
        return answer.status_code, members(answer).get("code", "")

    assert post(init_data(user_id=1, age_seconds=3500))[0] == 202
    assert post(init_data(user_id=2, age_seconds=-30))[0] == 202
    assert post(init_data(age_seconds=3700)) == (401, "init_data_expired")
    assert post(init_data(age_seconds=-120)) == (401, "init_data_invalid")
    forged = sign_by_token(unsigned(age_seconds=3700), token=f"{BOT_ID}:another")
    assert post(forged) == (401, "init_data_invalid")


def test_the_body_is_read_strictly(opened: Opened) -> None:
    """As everywhere."""
    for body in ({}, {"init_data": ""}, {"init_data": 7}, {"init_data": "x" * 9000}, {"init_data": "x", "more": 1}):
        problem(opened[0].post("/miniapp/logins", body), 422, "invalid_request")


def test_one_person_cannot_start_logins_without_end(make_client: MakeClient) -> None:
    """A few in a minute; others are not kept waiting by them."""
    client, parts = make_client(telegram_bot_token=SecretStr(BOT_TOKEN), strict_rate_per_minute=3)
    create_tenant(parts.core.transaction, actor="test", tenant_id="alice", name="Alice")
    caller = Caller(client, "", {})
    for number in range(3):
        text = init_data(query_id=str(number))
        assert caller.post("/miniapp/logins", {"init_data": text}).status_code == 202
    one_more = {"init_data": init_data(query_id="more")}
    for _ in range(2):  # the refused one has not become a known one
        problem(caller.post("/miniapp/logins", one_more), 429, "rate_limited")
    for _ in range(4):  # what asks for its own login again starts nothing
        assert caller.post("/miniapp/logins", {"init_data": text}).status_code == 202
    assert caller.post("/miniapp/logins", {"init_data": init_data(user_id=43)}).status_code == 202


def test_the_tenant_is_the_named_one_or_the_only_one(make_client: MakeClient) -> None:
    """With several and none named, nothing is started for anybody."""
    client, parts = make_client(telegram_bot_token=SecretStr(BOT_TOKEN))
    caller = Caller(client, "", {})
    create_tenant(parts.core.transaction, actor="test", tenant_id="bob", name="Bob")
    login = members(caller.post("/miniapp/logins", {"init_data": init_data()}))
    with parts.core.transaction() as db:
        assert db.get_one(Login, login["id"]).tenant_id == "bob"
    create_tenant(parts.core.transaction, actor="test", tenant_id="alice", name="Alice")
    problem(caller.post("/miniapp/logins", {"init_data": init_data(query_id="more")}), 503, "unavailable")
    assert caller.get("/miniapp").status_code == 200


def test_a_disabled_tenants_mini_app_starts_nothing(opened: Opened) -> None:
    """And its page says so."""
    caller, parts = opened
    disable_tenant(parts.core.transaction, actor="test", tenant_id="alice")
    problem(caller.post("/miniapp/logins", {"init_data": init_data()}), 409, "tenant_disabled")
    assert '"disabled": true' in caller.get("/miniapp").text
    with parts.core.transaction() as db:
        assert db.get_one(Tenant, "alice").disabled_at is not None
        assert db.query(Login).count() == 0


def test_telegrams_own_signature_does_without_the_token(settings: Settings) -> None:
    """With the bot's id alone: signed for this bot, by Telegram's key, and not too long ago."""
    ours = settings.model_copy(update={"telegram_bot_id": BOT_ID})
    key = Ed25519PrivateKey.generate()
    public_key = key.public_key().public_bytes_raw()

    def verify(text: str, *, ahead: timedelta = timedelta()) -> int:
        return verify_init_data(ours, text, now=utc_now() + ahead, telegram_public_key=public_key).telegram_user_id

    assert verify(sign_by_telegram(unsigned(), key=key)) == 42
    for wrong in (
        sign_by_telegram(unsigned(), key=key, bot_id=BOT_ID + 1),
        sign_by_telegram(unsigned(), key=Ed25519PrivateKey.generate()),
        sign_by_telegram(unsigned(), key=key).replace("42", "43"),
        init_data(),
    ):
        with pytest.raises(InitDataInvalid):
            verify(wrong)
    with pytest.raises(InitDataInvalid):  # Telegram's real key signed nothing of this
        verify_init_data(ours, sign_by_telegram(unsigned(), key=key), now=utc_now())


def test_no_secret_of_it_is_in_a_repr(opened: Opened) -> None:
    """Neither the token nor initData."""
    text = init_data()
    assert BOT_TOKEN not in repr(opened[1].core.settings)
    assert text not in str(opened[0].post("/miniapp/logins", {"init_data": text, "more": text}).data)


def test_the_reference_tells_of_both_calls(web: tuple[FlaskClient, Parts]) -> None:
    """Without a key, with what can go wrong."""
    paths = web[0].get("/openapi.json").get_json()["paths"]
    assert paths["/miniapp"]["get"]["responses"]["200"]["content"].keys() == {"text/html"}
    post = paths["/miniapp/logins"]["post"]
    assert "security" not in post
    assert {"200", "202", "401", "404", "409", "422", "429", "503"} <= set(post["responses"])
    assert "`init_data_expired`" in post["responses"]["401"]["description"]
