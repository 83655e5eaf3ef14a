"""POST /v1/logins for a person: ``end_user_id``, re-logins, ``/method``, ``/again``; and GET, PATCH /v1/tenant."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.clock import utc_now
from app.core import Core
from app.logins.repeating import MOST_REPEATS
from app.logins.store import end_from_outside, take
from app.models import Login, TelegramSession
from tests.web.callers import Caller, members, problem


def as_user(caller: Caller, login: dict[str, Any]) -> Caller:
    """The caller of a browser that has the login's own secret."""
    return Caller(caller.client, caller.tenant_id, {"Login-Secret": login["client_secret"]})


def end(core: Core, login_id: str, status: str = "expired") -> None:
    """End a login."""
    with core.transaction() as db:
        assert end_from_outside(db, login_id=login_id, status=status) is not None


def add_session(core: Core, session_id: str, **columns: Any) -> None:
    """Add a session of Alice's."""
    row = {"tenant_id": "alice", "telegram_user_id": 42, "dc_id": 2, "status": "active"} | columns
    with core.transaction() as db:
        db.add(TelegramSession(id=session_id, **row))


def test_a_new_login_of_the_same_end_user_cancels_the_one_under_way(alice: Caller, bob: Caller) -> None:
    """One login at a time for a person; another tenant's person of that name is somebody else."""
    first, bobs = alice.start_login(end_user_id="u-1"), bob.start_login(end_user_id="u-1")
    second = alice.start_login(end_user_id="u-1", method="code", phone="+15551234567")
    assert second["id"] != first["id"]
    assert second["end_user_id"] == "u-1"
    assert members(alice.get(f"/v1/logins/{first['id']}"))["status"] == "cancelled"
    assert members(bob.get(f"/v1/logins/{bobs['id']}"))["status"] == "queued"


def test_the_same_person_and_account_joins(alice: Caller) -> None:
    """The second request for the same account of the same person is answered with the first login."""
    first = alice.start_login(end_user_id="u-1", telegram_user_id=42)
    assert alice.start_login(end_user_id="u-1", telegram_user_id=42)["id"] == first["id"]


def test_an_account_that_another_person_claims_is_logged_in_by_the_newest(alice: Caller) -> None:
    """Two people of a tenant cannot share a login: the second one gets a login of their own."""
    first = alice.start_login(end_user_id="u-1", telegram_user_id=42)
    second = alice.start_login(end_user_id="u-2", telegram_user_id=42)
    assert second["id"] != first["id"]
    assert members(alice.get(f"/v1/logins/{first['id']}"))["status"] == "cancelled"


def test_a_session_of_another_person_does_not_serve(alice: Caller, core: Core) -> None:
    """It serves its own person, and nobody else of the tenant's."""
    add_session(core, "ses_1", end_user_id="u-1")
    assert alice.post("/v1/logins", {"telegram_user_id": 42, "end_user_id": "u-2"}).status_code == 202
    served = alice.post("/v1/logins", {"telegram_user_id": 42, "end_user_id": "u-1"})
    assert (served.status_code, members(served)["session_id"]) == (200, "ses_1")


def test_sessions_are_found_by_their_end_user(alice: Caller, core: Core) -> None:
    """GET /v1/sessions?end_user_id= lists that person's alone."""
    add_session(core, "ses_1", end_user_id="u-1")
    add_session(core, "ses_2", end_user_id="u-2", telegram_user_id=43)
    found = members(alice.get("/v1/sessions?end_user_id=u-2"))["data"]
    assert [(each["id"], each["end_user_id"]) for each in found] == [("ses_2", "u-2")]


def test_a_relogin_expects_the_account_and_person_of_its_session(alice: Caller, core: Core) -> None:
    """Both come from the session; a request that says otherwise is refused, and says where."""
    add_session(core, "ses_1", end_user_id="u-1", status="invalid")
    login = alice.start_login(session_id="ses_1")
    assert (login["telegram_user_id"], login["end_user_id"], login["status"]) == (42, "u-1", "queued")
    for wrong in ({"telegram_user_id": 43}, {"end_user_id": "u-2"}):
        refused = problem(alice.post("/v1/logins", {"session_id": "ses_1"} | wrong), 422, "invalid_request")
        assert refused["errors"][0]["field"] == next(iter(wrong))


def test_a_relogin_is_for_ones_own_living_sessions(alice: Caller, bob: Caller, core: Core) -> None:
    """Another tenant's session is not there; one that was revoked stays so."""
    add_session(core, "ses_1", status="invalid")
    add_session(core, "ses_2", status="revoked", telegram_user_id=43)
    problem(bob.post("/v1/logins", {"session_id": "ses_1"}), 404, "not_found")
    problem(alice.post("/v1/logins", {"session_id": "ses_0"}), 404, "not_found")
    problem(alice.post("/v1/logins", {"session_id": "ses_2"}), 409, "session_not_active")


def test_a_login_switches_to_a_phone_code_and_back(alice: Caller, bob: Caller, core: Core) -> None:
    """The same login, under a higher epoch, so that the worker that drives it leaves it; the number is sealed."""
    login = alice.start_login()
    with core.transaction() as db:
        assert take(db, login_id=login["id"], owner="a worker") is not None
    user, path = as_user(alice, login), f"/v1/logins/{login['id']}/method"
    switched = user.post(path, {"method": "code", "phone": "+1 (555) 123-4567"})
    assert switched.status_code == 202, switched.text
    assert (members(switched)["id"], members(switched)["method"]) == (login["id"], "code")
    with core.transaction() as db:
        row = db.get_one(Login, login["id"])
    assert (row.owner_epoch, row.owner) == (2, None)
    assert row.phone_sealed is not None
    assert b"5551234567" not in row.phone_sealed
    back = user.post(path, {"method": "qr"})
    assert (members(back)["method"], members(back)["version"]) == ("qr", members(switched)["version"] + 1)
    assert members(user.post(path, {"method": "qr"}))["version"] == members(back)["version"]
    problem(bob.post(path, {"method": "qr"}), 404, "not_found")


def test_a_switch_needs_a_number_exactly_with_code(alice: Caller) -> None:
    """422, as at the start of a login."""
    path = f"/v1/logins/{alice.start_login()['id']}/method"
    for body in ({"method": "code"}, {"method": "qr", "phone": "+15551234567"}, {"method": "pigeon"}, {}):
        problem(alice.post(path, body), 422, "invalid_request")


@pytest.mark.parametrize("status", ["cancelled", "expired"])
def test_a_login_that_is_over_cannot_switch(alice: Caller, core: Core, status: str) -> None:
    """409 cannot_switch, to either way."""
    login = alice.start_login()
    end(core, login["id"], status)
    path = f"/v1/logins/{login['id']}/method"
    problem(alice.post(path, {"method": "code", "phone": "+15551234567"}), 409, "cannot_switch")
    problem(alice.post(path, {"method": "qr"}), 409, "cannot_switch")


def test_a_login_starts_again_like_the_first(alice: Caller, core: Core) -> None:
    """The same person, account, language and metadata; a new id and secret. Twice at once it is the same one."""
    first = alice.start_login(end_user_id="u-1", telegram_user_id=42, locale="ru", metadata={"order": "7"})
    end(core, first["id"])
    path = f"/v1/logins/{first['id']}/again"
    answer = as_user(alice, first).post(path)
    assert answer.status_code == 202, answer.text
    again = members(answer)
    assert again["id"] != first["id"]
    assert again["page_url"].endswith(f"/login/{again['id']}#{again['client_secret']}")
    assert answer.headers["Location"] == f"/v1/logins/{again['id']}"
    assert members(as_user(alice, first).post(path))["id"] == again["id"]
    with core.transaction() as db:
        row = db.get_one(Login, again["id"])
    assert (row.end_user_id, row.telegram_user_id, row.locale, row.client_metadata) == (
        "u-1",
        42,
        "ru",
        {"order": "7"},
    )


def test_a_login_starts_again_only_after_it_ended_without_a_session(alice: Caller, core: Core) -> None:
    """409 while it is under way or when it succeeded, 401 without its own secret, 404 with another's."""
    login, other = alice.start_login(), alice.start_login()
    path = f"/v1/logins/{login['id']}/again"
    problem(as_user(alice, login).post(path), 409, "cannot_start_again")
    problem(alice.post(path), 401, "unauthenticated")
    problem(as_user(alice, other).post(path), 404, "not_found")
    end(core, login["id"], "authorized")
    problem(as_user(alice, login).post(path), 409, "cannot_start_again")


def test_a_login_starts_again_five_times_in_its_hour(alice: Caller, core: Core) -> None:
    """Whichever of them is started again, they are counted together; after the hour there is nothing to start again."""
    first = newest = alice.start_login()
    for _ in range(MOST_REPEATS):
        end(core, newest["id"])
        newest = members(as_user(alice, newest).post(f"/v1/logins/{newest['id']}/again"))
    end(core, newest["id"])
    refused = as_user(alice, newest).post(f"/v1/logins/{newest['id']}/again")
    problem(refused, 429, "rate_limited")
    assert int(refused.headers["Retry-After"]) > 0

    another = alice.start_login()
    end(core, another["id"])
    with core.transaction() as db:
        db.get_one(Login, another["id"]).created_at = utc_now() - timedelta(minutes=61)
    problem(as_user(alice, another).post(f"/v1/logins/{another['id']}/again"), 409, "cannot_start_again")
    with core.transaction() as db:
        repeats = db.scalars(select(Login.repeats_login_id).where(Login.repeats_login_id.is_not(None))).all()
    assert repeats == [first["id"]] * MOST_REPEATS


def test_who_was_connected_is_told(alice: Caller, core: Core) -> None:
    """``account``, while the session is active; nobody before, and nobody after."""
    add_session(core, "ses_1", first_name="Bob", username="bob", phone_masked="+49•••••••17")
    login = alice.start_login(telegram_user_id=42)
    assert login["account"] == {"first_name": "Bob", "username": "bob", "phone_masked": "+49•••••••17"}
    assert alice.start_login()["account"] is None
    with core.transaction() as db:
        db.get_one(TelegramSession, "ses_1").status = "revoked"
    assert members(alice.get(f"/v1/logins/{login['id']}"))["account"] is None


def test_a_login_that_lost_its_secret_is_replaced_by_a_new_one(alice: Caller, core: Core) -> None:
    """A joined login whose client secret does not open ends, and the person gets a new one at the same POST."""
    lost = alice.start_login(telegram_user_id=42)
    with core.transaction() as db:
        db.get_one(Login, lost["id"]).client_secret_sealed = b"changed"
    answer = alice.post("/v1/logins", {"telegram_user_id": 42})
    assert answer.status_code == 202, answer.text
    assert members(answer)["id"] != lost["id"]
    ended = members(alice.get(f"/v1/logins/{lost['id']}"))
    assert (ended["status"], ended["reason"]) == ("failed", "internal_error")


def test_a_tenant_sets_its_own_brand_and_lists(alice: Caller, bob: Caller) -> None:
    """GET shows what PATCH set, to this tenant alone; what is left out stays."""
    changes = {
        "brand": {"name": "Acme", "accent": "#2481CC", "logo": "data:image/png;base64,iVBORw0KGgo="},
        "redirect_urls": ["https://app.acme.example/connected"],
        "origins": ["https://app.acme.example"],
    }
    changed = alice.call("PATCH", "/v1/tenant", changes)
    assert changed.status_code == 200, changed.text
    told = members(alice.get("/v1/tenant"))
    assert (told["id"], told["name"], told["brand"]["accent"]) == ("alice", "Alice", "#2481cc")
    assert told["redirect_urls"] == changes["redirect_urls"]
    assert told["limits"]["logins_per_minute"] > 0
    renamed = members(alice.call("PATCH", "/v1/tenant", {"name": "Alice & Co"}))
    assert (renamed["name"], renamed["brand"]["name"]) == ("Alice & Co", "Acme")
    assert members(bob.get("/v1/tenant"))["redirect_urls"] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_urls": ["http://app.acme.example/"]},
        {"redirect_urls": ["javascript:alert(1)"]},
        {"redirect_urls": ["https://user@app.acme.example/"]},
        {"redirect_urls": ["https://app.acme.example/#a"]},
        {"origins": ["https://app.acme.example/path"]},
        {"origins": ["*"]},
        {"brand": {"accent": "red"}},
        {"brand": {"logo": "https://cdn.example/logo.png"}},
        {"brand": {"logo": "data:image/svg+xml;base64,AAAA"}},
        {"owner": "me"},
    ],
)
def test_senseless_settings_are_refused(alice: Caller, changes: dict[str, Any]) -> None:
    """422: no script, no third party, no plain HTTP outside of one's own machine."""
    problem(alice.call("PATCH", "/v1/tenant", changes), 422, "invalid_request")


def test_a_login_leads_only_where_its_tenant_said(alice: Caller, bob: Caller) -> None:
    """``redirect_url`` and ``origin`` must be on the tenant's own lists; a query may be added."""
    lists = {"redirect_urls": ["https://app.acme.example/connected"], "origins": ["https://app.acme.example"]}
    assert alice.call("PATCH", "/v1/tenant", lists).status_code == 200
    wanted = {"redirect_url": "https://app.acme.example/connected?state=7", "origin": "https://app.acme.example"}
    assert alice.start_login(**wanted)["redirect_url"] == wanted["redirect_url"]
    for name, value in wanted.items():
        refused = problem(bob.post("/v1/logins", {name: value}), 422, "invalid_request")
        assert refused["errors"][0]["field"] == name
    elsewhere = {"redirect_url": "https://app.acme.example.evil.example/connected"}
    problem(alice.post("/v1/logins", elsewhere), 422, "invalid_request")
