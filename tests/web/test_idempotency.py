"""``Idempotency-Key`` on every POST: the same answer to the byte, and one effect, whatever fails in between."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from werkzeug.test import TestResponse

from app.clock import utc_now
from app.core import Core
from app.models import ApiKey, AuditEvent, IdempotencyKey, Login, Tenant, WebhookEndpoint
from app.redis_state import login_inbox_key
from app.settings import DataCentre
from app.telegram.string_sessions import make_string_session
from app.vault.rotation import rotate_keys
from tests.sessions.rows import give_session
from tests.web.callers import Caller, members, problem, with_key
from tests.web.conftest import MakeClient
from tests.web.playing_worker import PlayingWorker

URL = "https://alice.example/hook"


def again(caller: Caller, path: str, body: object = None, *, key: str = "k1") -> tuple[TestResponse, TestResponse]:
    """POST twice under one key."""
    first = caller.post(path, body, Idempotency_Key=key)
    return first, caller.post(path, body, Idempotency_Key=key)


def posts(alice: Caller, core: Core) -> dict[str, tuple[str, object]]:
    """A call of every POST that an API key may make: path and body, by the path's rule."""
    session_id = give_session(core)[0]
    webhook = f"/v1/webhooks/{members(alice.post('/v1/webhooks', {'url': URL}))['id']}"
    event_id = members(alice.post(f"{webhook}/test"))["event_id"]
    login, with_password, with_code = (alice.start_login() for _ in range(3))
    PlayingWorker(core, with_password["id"]).ask_password()
    PlayingWorker(core, with_code["id"]).ask_code()
    string = make_string_session(auth_key=os.urandom(256), data_centre=DataCentre(2, "149.154.167.51", 443))
    return {
        "/v1/logins": ("/v1/logins", {"telegram_user_id": 43}),
        "/v1/logins/{login_id}/password": (f"/v1/logins/{with_password['id']}/password", {"password": "x"}),
        "/v1/logins/{login_id}/code": (f"/v1/logins/{with_code['id']}/code", {"code": "12345"}),
        "/v1/logins/{login_id}/code/resend": (f"/v1/logins/{login['id']}/code/resend", {}),
        "/v1/logins/{login_id}/method": (
            f"/v1/logins/{login['id']}/method",
            {"method": "code", "phone": "+4915112345678"},
        ),
        "/v1/sessions": ("/v1/sessions", {"session_string": string}),
        "/v1/sessions/{session_id}/validate": (f"/v1/sessions/{session_id}/validate", {}),
        "/v1/sessions/{session_id}/lease": (
            f"/v1/sessions/{session_id}/lease",
            {"holder": "bot-1", "ttl_seconds": 60},
        ),
        "/v1/sessions/revoke": ("/v1/sessions/revoke", {"holder": "nobody"}),
        "/v1/webhooks": ("/v1/webhooks", {"url": URL}),
        "/v1/webhooks/{webhook_id}/test": (f"{webhook}/test", {}),
        "/v1/webhooks/{webhook_id}/rotate-secret": (f"{webhook}/rotate-secret", {}),
        "/v1/webhooks/{webhook_id}/replay": (f"{webhook}/replay", {"since": "2026-01-01T00:00:00Z"}),
        "/v1/webhooks/{webhook_id}/deliveries/{event_id}/replay": (f"{webhook}/deliveries/{event_id}/replay", {}),
        "/v1/tenants": ("/v1/tenants", {"name": "Carol"}),
        "/v1/tenants/{tenant_id}/api-keys": ("/v1/tenants/bob/api-keys", {"scopes": ["audit"]}),
    }


def test_every_post_is_answered_again_to_the_byte(alice: Caller, core: Core) -> None:
    """Status, body and headers; the document says so of each, and none is left out here."""
    paths = members(alice.get("/openapi.json"))["paths"]
    documented = {path for path, operations in paths.items() if "post" in operations}
    calls = posts(alice, core)
    by_themselves = {"/v1/logins/{login_id}/again", "/miniapp/logins"}
    assert documented - by_themselves == calls.keys()
    for rule, (path, body) in calls.items():
        named = {parameter["name"] for parameter in paths[rule]["post"]["parameters"]}
        assert "Idempotency-Key" in named, rule
        first, second = again(alice, path, body, key=rule)
        assert first.status_code in {200, 201, 202, 409}, (rule, first.text)
        assert (second.status_code, second.data) == (first.status_code, first.data), rule
        for header in ("Content-Type", "Location", "Cache-Control"):
            assert second.headers.get(header) == first.headers.get(header), (rule, header)
        assert (first.headers.get("Idempotent-Replayed"), second.headers["Idempotent-Replayed"]) == (None, "true")


def test_a_repeat_has_no_second_effect(alice: Caller, core: Core) -> None:
    """One webhook, one API key, one login."""
    for path, body in (
        ("/v1/webhooks", {"url": URL}),
        ("/v1/tenants/bob/api-keys", {"scopes": ["audit"]}),
        ("/v1/logins", {}),
    ):
        again(alice, path, body, key=path)
    with core.transaction() as db:
        counts = [db.scalar(select(func.count()).select_from(model)) for model in (WebhookEndpoint, Login)]
        assert counts == [1, 1]
        assert db.scalar(select(func.count()).where(ApiKey.scopes == ["audit"])) == 1


def test_another_request_under_the_key_is_refused(alice: Caller, bob: Caller) -> None:
    """Another body, or another address; how the same body is spelled makes no difference. Bob's key is not Alice's."""
    first = alice.post("/v1/webhooks", {"url": URL}, Idempotency_Key="k1")
    spelled = json.dumps({"events": None, "url": URL}, indent=4).encode()
    headers = alice.headers | {"Idempotency-Key": "k1"}
    same = alice.client.post("/v1/webhooks", data=spelled, headers=headers, content_type="application/json")
    assert same.data == first.data
    problem(alice.post("/v1/webhooks", {"url": URL + "2"}, Idempotency_Key="k1"), 409, "idempotency_key_reused")
    problem(alice.post("/v1/tenants", {"name": "x"}, Idempotency_Key="k1"), 409, "idempotency_key_reused")
    hers, his = members(first)["id"], members(bob.post("/v1/webhooks", {"url": URL}, Idempotency_Key="k1"))["id"]
    assert hers != his


def test_what_is_kept_is_sealed_and_hashed(alice: Caller, core: Core) -> None:
    """Neither the key nor the answer can be read in the database; a rotation takes the answers along."""
    first = alice.post("/v1/webhooks", {"url": URL}, Idempotency_Key="order-17")
    with core.transaction() as db:
        stored = str(
            db.execute(text("SELECT k::text, convert_from(body_sealed, 'UTF8') FROM idempotency_keys k")).all()
        )
        row = db.scalars(select(IdempotencyKey)).one()
    assert (len(row.key_hash), len(row.request_hash)) == (32, 32)
    for secret in (members(first)["secret"], "order-17", b"order-17".hex(), URL):
        assert secret not in stored
    report = rotate_keys(
        transaction=core.transaction, keyring=core.keyring, actor="test", max_age=timedelta(0), force=True
    )
    assert report.left == 0
    assert alice.post("/v1/webhooks", {"url": URL}, Idempotency_Key="order-17").data == first.data


def test_a_key_is_forgotten_after_a_day(alice: Caller, core: Core) -> None:
    """After 24 h it makes something new, of another request too."""
    first = alice.post("/v1/webhooks", {"url": URL}, Idempotency_Key="k1")
    with core.transaction() as db:
        db.execute(update(IdempotencyKey).values(created_at=utc_now() - timedelta(hours=25)))
    other = alice.post("/v1/webhooks", {"url": URL + "2"}, Idempotency_Key="k1")
    assert (other.status_code, members(other)["id"] != members(first)["id"]) == (201, True)


def test_simultaneous_repeats_have_one_effect(alice: Caller, core: Core) -> None:
    """Whoever comes while the first one is being worked on waits for its answer; ten rounds of eight."""
    for key in map(str, range(10)):
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda key: alice.post("/v1/logins", {}, Idempotency_Key=key), [key] * 8))
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.data for answer in answers}) == 1
    with core.transaction() as db:
        assert db.scalar(select(func.count()).select_from(Login)) == 10


@contextmanager
def when_an_answer_is_kept(core: Core, does: str) -> Iterator[None]:
    """Have PostgreSQL do something when an answer is written beside the effect that it is of."""
    with core.transaction() as db:
        db.execute(text(f"CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {does}; RETURN NEW; END'"))
        db.execute(text("CREATE TRIGGER act BEFORE UPDATE ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION act()"))
    try:
        yield
    finally:
        with core.transaction() as db:
            db.execute(text("DROP FUNCTION act() CASCADE"))


def test_a_repeat_of_what_takes_long_is_told_to_come_back(alice: Caller, core: Core) -> None:
    """409 with Retry-After after two seconds of waiting; then the first one's answer."""
    with when_an_answer_is_kept(core, "PERFORM pg_sleep(3.5)"), ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: alice.post("/v1/webhooks", {"url": URL}, Idempotency_Key="k1"), range(2)))
    first, other = sorted(answers, key=lambda answer: answer.status_code)
    assert first.status_code == 201
    problem(other, 409, "idempotency_key_in_use")
    assert int(other.headers["Retry-After"]) > 0
    assert alice.post("/v1/webhooks", {"url": URL}, Idempotency_Key="k1").data == first.data


@pytest.mark.parametrize("path", ["/v1/logins", "/v1/webhooks", "/v1/tenants", "/v1/tenants/bob/api-keys", "lease"])
def test_when_postgresql_dies_between_effect_and_answer_there_is_neither(alice: Caller, core: Core, path: str) -> None:
    """503, and nothing is left of it; the repeat is the first one that has an effect."""
    bodies: dict[str, dict[str, Any]] = {
        "/v1/logins": {},
        "/v1/webhooks": {"url": URL},
        "/v1/tenants": {"name": "Carol"},
        "/v1/tenants/bob/api-keys": {"scopes": ["audit"]},
    }
    body = bodies.get(path, {"holder": "bot-1", "ttl_seconds": 60})
    if path == "lease":
        path = f"/v1/sessions/{give_session(core)[0]}/lease"
    with core.transaction() as db:
        before = _count(db)
    with when_an_answer_is_kept(core, "PERFORM pg_terminate_backend(pg_backend_pid())"):
        answer = alice.post(path, body, Idempotency_Key="k1")
        problem(answer, 503, "unavailable")
    with core.transaction() as db:
        assert _count(db) == before
    first, second = again(alice, path, body)
    assert first.status_code in {201, 202}, first.text
    assert second.data == first.data


def test_what_says_to_come_again_is_not_kept(make_client: MakeClient, alice: Caller) -> None:
    """429: the same key works when the window is over."""
    client, parts = make_client(login_rate_per_minute=1)
    caller = Caller(client, "alice", alice.headers)
    assert caller.post("/v1/logins", {}, Idempotency_Key="k1").status_code == 202
    problem(caller.post("/v1/logins", {}, Idempotency_Key="k2"), 429, "rate_limited")
    assert caller.post("/v1/logins", {}, Idempotency_Key="k1").status_code == 202  # a replay starts nothing
    parts.core.redis.flushdb()
    assert caller.post("/v1/logins", {}, Idempotency_Key="k2").status_code == 202


def test_what_makes_no_sense_is_not_kept(alice: Caller) -> None:
    """A request that is mended may keep its key."""
    problem(alice.post("/v1/webhooks", {"url": 1}, Idempotency_Key="k1"), 422, "invalid_request")
    assert alice.post("/v1/webhooks", {"url": URL}, Idempotency_Key="k1").status_code == 201


def test_a_key_of_the_callers_scope_comes_first(alice: Caller, core: Core) -> None:
    """Whoever may not make the call is not given its answer either."""
    alice.post("/v1/webhooks", {"url": URL}, Idempotency_Key="k1")
    other = with_key(alice.client, core, tenant_id="alice", scopes=("logins",))
    problem(other.post("/v1/webhooks", {"url": URL}, Idempotency_Key="k1"), 403, "forbidden")


def test_whoever_has_a_logins_secret_has_keys_of_their_own(alice: Caller, nobody: Caller, core: Core) -> None:
    """The page's keys are not the tenant's, and are no use without the secret."""
    login = alice.start_login()
    worker = PlayingWorker(core, login["id"])
    worker.ask_password()
    path, body = f"/v1/logins/{login['id']}/password", {"password": "sesame"}
    first = nobody.post(path, body, Login_Secret=login["client_secret"], Idempotency_Key="k1")
    assert first.status_code == 202, first.text
    assert core.redis.getdel(login_inbox_key(login["id"], "password")) is not None
    second = nobody.post(path, body, Login_Secret=login["client_secret"], Idempotency_Key="k1")
    assert second.data == first.data
    assert core.redis.get(login_inbox_key(login["id"], "password")) is None
    problem(nobody.post(path, body, Login_Secret="ls_wrong", Idempotency_Key="k1"), 404, "not_found")
    assert "metadata" in members(alice.post(path, body, Idempotency_Key="k1"))
    assert core.redis.get(login_inbox_key(login["id"], "password")) is not None


def test_a_lease_is_given_again_only_while_it_is_held(alice: Caller, core: Core) -> None:
    """Each time is an opening of the session in the audit; when the lease is over, nobody gets the session string by it."""
    session_id, string = give_session(core)
    path, body = f"/v1/sessions/{session_id}/lease", {"holder": "bot-1", "ttl_seconds": 60}
    first, second = again(alice, path, body)
    assert (second.data, members(second)["session_string"]) == (first.data, string)
    with core.transaction() as db:
        opened = db.scalars(select(AuditEvent).where(AuditEvent.action == "session.opened")).all()
    assert [event.actor for event in opened] == [f"api-key:{alice.key_id}"] * 2
    assert alice.delete(f"{path}/{members(first)['lease_id']}").status_code == 204
    problem(alice.post(path, body, Idempotency_Key="k1"), 409, "lease_lost")


def _count(db: Any) -> list[int | None]:
    """What the calls make."""
    models = (Login, WebhookEndpoint, Tenant, ApiKey, IdempotencyKey)
    return [db.scalar(select(func.count()).select_from(model)) for model in models]
