"""POST /v1/sessions, POST /v1/sessions/{id}/validate, DELETE /v1/sessions/{id}."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from app.clock import utc_now
from app.core import Core
from app.settings import DataCentre
from app.telegram.session_formats import LIBRARIES, SessionFormat, write_session
from app.telegram.string_sessions import make_string_session
from tests.sessions.rows import give_session
from tests.web.callers import Caller, members, problem, with_key
from tests.web.conftest import MakeClient


def string_session(host: str = "149.154.167.51") -> str:
    """A string session of a new auth key."""
    return make_string_session(auth_key=os.urandom(256), data_centre=DataCentre(2, host, 443))


def test_an_import_is_taken_and_quarantined(alice: Caller) -> None:
    """202 with a Session that says nothing of what was brought."""
    string = string_session()
    answer = alice.post("/v1/sessions", {"session_string": string, "telegram_user_id": 42})
    assert answer.status_code == 202
    session = members(answer)
    assert (session["status"], session["reason"], session["telegram_user_id"]) == ("quarantined", "imported", 42)
    assert session["key_id"]
    assert string not in answer.text
    problem(alice.post("/v1/sessions", {"session_string": string}), 409, "session_exists")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "session_string"),
        ({"session_string": "nonsense"}, "session_string"),
        ({"session_string": string_session("10.0.0.7")}, "session_string"),
        ({"session_string": string_session(), "telegram_user_id": 0}, "telegram_user_id"),
        ({"session_string": string_session(), "status": "active"}, "status"),
    ],
)
def test_an_import_that_makes_no_sense_is_refused(alice: Caller, body: dict[str, object], field: str) -> None:
    """422 with the field's name, and without what was in it."""
    answer = alice.post("/v1/sessions", body)
    told = problem(answer, 422, "invalid_request")
    assert [error["field"] for error in told["errors"]] == [field]
    assert str(body.get("session_string", "nothing was brought"))[:40] not in answer.text


def test_the_word_beside_the_sessions_is_no_session(alice: Caller) -> None:
    """405 with what may be done there, and not a session of that name."""
    refused = alice.delete("/v1/sessions/revoke")
    problem(refused, 405, "method_not_allowed")
    assert set(refused.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}


@pytest.mark.parametrize("session_format", LIBRARIES)
def test_an_import_may_say_its_form(alice: Caller, session_format: SessionFormat) -> None:
    """Recognised when it is not said; 422 when it is another one than it says."""
    string = in_form(session_format)
    other = "gramjs" if session_format == "telethon" else "telethon"
    told = problem(alice.post("/v1/sessions", {"session_string": string, "format": other}), 422, "invalid_request")
    (error,) = told["errors"]
    assert error["field"] == "session_string"
    assert LIBRARIES[session_format] in error["message"]
    assert alice.post("/v1/sessions", {"session_string": string, "format": session_format}).status_code == 202
    assert alice.post("/v1/sessions", {"session_string": in_form(session_format)}).status_code == 202


def test_what_has_no_form_is_told_of_all(alice: Caller) -> None:
    """The message names the libraries; a form that does not exist is the field's own error."""
    told = problem(alice.post("/v1/sessions", {"session_string": "nonsense"}), 422, "invalid_request")
    (error,) = told["errors"]
    assert all(name in error["message"] for name in LIBRARIES.values())
    body = {"session_string": string_session(), "format": "tdata"}
    told = problem(alice.post("/v1/sessions", body), 422, "invalid_request")
    assert [error["field"] for error in told["errors"]] == ["format"]


def in_form(session_format: SessionFormat) -> str:
    """A string session of a new auth key, as a library writes it."""
    return write_session(
        session_format,
        auth_key=os.urandom(256),
        data_centre=DataCentre(2, "149.154.167.51", 443),
        api_id=12345,
        telegram_user_id=42,
    )


def test_imports_are_limited(make_client: MakeClient, core: Core) -> None:
    """429 with Retry-After."""
    client, _ = make_client(login_rate_per_minute=1)
    caller = with_key(client, core, tenant_id="alice")
    assert caller.post("/v1/sessions", {"session_string": string_session()}).status_code == 202
    refused = caller.post("/v1/sessions", {"session_string": string_session()})
    problem(refused, 429, "rate_limited")
    assert int(refused.headers["Retry-After"]) > 0


def test_a_session_is_validated_on_demand(alice: Caller, core: Core) -> None:
    """202 with the Session; 409 while somebody holds it or when it is over."""
    session_id, _ = give_session(core)
    answer = alice.post(f"/v1/sessions/{session_id}/validate")
    assert (answer.status_code, members(answer)["id"]) == (202, session_id)
    soon = utc_now() + timedelta(seconds=60)
    leased, _ = give_session(core, lease_id="lse_1", lease_holder="bot-1", lease_expires_at=soon)
    told = problem(alice.post(f"/v1/sessions/{leased}/validate"), 409, "session_leased")
    assert told["holder"] == "bot-1"
    over, _ = give_session(core, status="invalid")
    problem(alice.post(f"/v1/sessions/{over}/validate"), 409, "session_not_active")


def test_a_session_is_revoked(alice: Caller, core: Core) -> None:
    """202 with a Session that is revoking, as often as one likes."""
    session_id, _ = give_session(core)
    for _ in range(2):
        answer = alice.delete(f"/v1/sessions/{session_id}")
        assert (answer.status_code, members(answer)["status"]) == (202, "revoking")
    assert members(alice.get(f"/v1/sessions/{session_id}"))["reason"] == "requested"


def test_sessions_are_their_tenants_own(bob: Caller, nobody: Caller, core: Core) -> None:
    """Bob finds nothing of Alice's; nobody gets in."""
    session_id, _ = give_session(core)
    problem(bob.post(f"/v1/sessions/{session_id}/validate"), 404, "not_found")
    problem(bob.delete(f"/v1/sessions/{session_id}"), 404, "not_found")
    problem(nobody.post("/v1/sessions", {}), 401, "unauthenticated")
    problem(nobody.delete(f"/v1/sessions/{session_id}"), 401, "unauthenticated")


def test_changing_sessions_needs_its_scope(alice: Caller, core: Core) -> None:
    """sessions:write, whatever else a key may do."""
    session_id, _ = give_session(core)
    reader = with_key(alice.client, core, tenant_id="alice", scopes=("sessions:read", "sessions:open", "logins"))
    problem(reader.post("/v1/sessions", {"session_string": string_session()}), 403, "forbidden")
    problem(reader.post(f"/v1/sessions/{session_id}/validate"), 403, "forbidden")
    problem(reader.delete(f"/v1/sessions/{session_id}"), 403, "forbidden")
