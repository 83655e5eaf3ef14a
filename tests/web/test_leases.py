"""POST, PUT and DELETE /v1/sessions/{id}/lease."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import update

from app.clock import utc_now
from app.core import Core
from app.models import EncryptionKey
from app.telegram.session_formats import LIBRARIES, read_session
from tests.sessions.rows import give_session
from tests.web.callers import Caller, members, problem, with_key

BODY = {"holder": "bot-1", "ttl_seconds": 60}


@pytest.fixture
def session_id(core: Core) -> str:
    """A session of Alice's."""
    return give_session(core)[0]


def acquire(caller: Caller, session_id: str, **body: Any) -> dict[str, Any]:
    """Acquire a lease that must be granted."""
    answer = caller.post(f"/v1/sessions/{session_id}/lease", BODY | body)
    assert answer.status_code == 201, answer.text
    return members(answer)


def test_a_lease_is_what_the_contract_says(alice: Caller, core: Core) -> None:
    """Its members, the session string among them; the session then shows who holds it, and no cache keeps the answer."""
    session_id, string = give_session(core)
    answer = alice.post(f"/v1/sessions/{session_id}/lease", BODY | {"purpose": "newsletter"})
    assert answer.headers["Cache-Control"] == "no-store"
    lease = members(answer)
    assert set(lease) == {
        *("lease_id", "fencing_token", "expires_at", "session_string", "telegram_user_id", "dc_id"),
        *("api_id", "device"),
    }
    assert (lease["session_string"], lease["fencing_token"], lease["dc_id"]) == (string, 1, 2)
    assert set(lease["device"]) == {"device_model", "system_version", "app_version"}
    shown = members(alice.get(f"/v1/sessions/{session_id}"))["lease"]
    assert shown == {"holder": "bot-1", "expires_at": lease["expires_at"]}


@pytest.mark.parametrize("session_format", LIBRARIES)
def test_a_lease_has_the_form_that_was_asked_for(alice: Caller, core: Core, session_format: str) -> None:
    """session_string in any library's form, of the same auth key."""
    session_id, string = give_session(core)
    read = read_session(acquire(alice, session_id, format=session_format)["session_string"])
    assert (read.format, read.auth_key) == (session_format, read_session(string).auth_key)


def test_a_number_is_a_number(alice: Caller, session_id: str) -> None:
    """60.0 is 60 to JSON; 60.5 is no number of seconds."""
    acquire(alice, session_id, ttl_seconds=60.0)
    problem(alice.post(f"/v1/sessions/{session_id}/lease", BODY | {"ttl_seconds": 60.5}), 422, "invalid_request")


def test_a_second_holder_is_told_of_the_first(alice: Caller, session_id: str) -> None:
    """409 with holder and expires_at."""
    lease = acquire(alice, session_id)
    told = problem(alice.post(f"/v1/sessions/{session_id}/lease", BODY | {"holder": "bot-2"}), 409, "session_leased")
    assert told["holder"] == "bot-1"
    assert told["expires_at"] == lease["expires_at"]


def test_a_key_that_is_away_is_unavailable(alice: Caller, core: Core, session_id: str) -> None:
    """503 with Retry-After, and no word of which key it is or where it is kept; nothing was leased."""
    with core.transaction() as db:
        db.execute(update(EncryptionKey).values(wrapping_key_id="local-away"))
    core.keyring.forget()
    answer = alice.post(f"/v1/sessions/{session_id}/lease", BODY)
    told = problem(answer, 503, "unavailable")
    assert answer.headers["Retry-After"] == "5"
    assert "local-away" not in answer.text
    assert "key_" not in told["detail"]
    assert members(alice.get(f"/v1/sessions/{session_id}"))["lease"] is None


def test_a_lease_is_renewed_and_released(alice: Caller, session_id: str) -> None:
    """And then it is lost for both calls."""
    lease = acquire(alice, session_id)
    path = f"/v1/sessions/{session_id}/lease/{lease['lease_id']}"
    renewed = alice.put(path, {"ttl_seconds": 3600, "healthy": True})
    assert renewed.status_code == 200
    assert set(members(renewed)) == {"lease_id", "fencing_token", "expires_at"}
    assert members(renewed)["expires_at"] > lease["expires_at"]
    released = alice.delete(path)
    assert (released.status_code, released.data) == (204, b"")
    problem(alice.delete(path), 409, "lease_lost")
    problem(alice.put(path, {"ttl_seconds": 60}), 409, "lease_lost")
    assert acquire(alice, session_id)["fencing_token"] == 2


def test_a_release_says_how_the_session_is(alice: Caller, core: Core) -> None:
    """healthy=true counts as validation; healthy=false has it validated now, whatever the next holder says."""
    session_id, _ = give_session(core, last_validated_at=None)
    path = f"/v1/sessions/{session_id}"
    assert alice.delete(f"{path}/lease/{acquire(alice, session_id)['lease_id']}?healthy=true").status_code == 204
    shown = members(alice.get(path))
    assert shown["last_validated_at"] is not None
    assert shown["next_validation_at"] > shown["last_validated_at"]
    for healthy in ("?healthy=false", "", "?healthy=true"):
        assert alice.delete(f"{path}/lease/{acquire(alice, session_id)['lease_id']}{healthy}").status_code == 204
        again = members(alice.get(path))
        assert again["last_validated_at"] == shown["last_validated_at"]
        assert datetime.fromisoformat(again["next_validation_at"]) <= utc_now()


@pytest.mark.parametrize(("query", "field"), [("healthy=perhaps", "healthy"), ("sick=true", "sick")])
def test_a_release_with_a_senseless_word_is_refused(alice: Caller, session_id: str, query: str, field: str) -> None:
    """422 with the parameter's name; the lease is still held."""
    lease = acquire(alice, session_id)
    told = problem(alice.delete(f"/v1/sessions/{session_id}/lease/{lease['lease_id']}?{query}"), 422, "invalid_request")
    assert [error["field"] for error in told["errors"]] == [field]
    assert members(alice.get(f"/v1/sessions/{session_id}"))["lease"] is not None


@pytest.mark.parametrize("status", ["quarantined", "invalid", "revoking", "revoked", "replaced"])
def test_a_session_that_cannot_be_used_is_not_leased(alice: Caller, core: Core, status: str) -> None:
    """409 session_not_active."""
    session_id, _ = give_session(core, status=status)
    problem(alice.post(f"/v1/sessions/{session_id}/lease", BODY), 409, "session_not_active")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"ttl_seconds": 60}, "holder"),
        ({"holder": "", "ttl_seconds": 60}, "holder"),
        ({"holder": "latchkey:validator", "ttl_seconds": 60}, "holder"),
        ({"holder": "b" * 101, "ttl_seconds": 60}, "holder"),
        ({"holder": "b\0", "ttl_seconds": 60}, "holder"),
        ({"holder": "bot-1"}, "ttl_seconds"),
        ({"holder": "bot-1", "ttl_seconds": 9}, "ttl_seconds"),
        ({"holder": "bot-1", "ttl_seconds": 3601}, "ttl_seconds"),
        ({"holder": "bot-1", "ttl_seconds": "60"}, "ttl_seconds"),
        (BODY | {"purpose": "p" * 201}, "purpose"),
        (BODY | {"force": True}, "force"),
        (BODY | {"format": "tdata"}, "format"),
        (BODY | {"format": None}, "format"),
    ],
)
def test_a_body_that_makes_no_sense_is_refused(
    alice: Caller, session_id: str, body: dict[str, Any], field: str
) -> None:
    """422 with the field's name."""
    told = problem(alice.post(f"/v1/sessions/{session_id}/lease", body), 422, "invalid_request")
    assert [error["field"] for error in told["errors"]] == [field]


def test_leases_are_their_tenants_own(alice: Caller, bob: Caller, nobody: Caller, session_id: str) -> None:
    """Bob finds nothing; nobody gets in."""
    lease = acquire(alice, session_id)
    path = f"/v1/sessions/{session_id}/lease"
    problem(bob.post(path, BODY), 404, "not_found")
    problem(bob.put(f"{path}/{lease['lease_id']}", {"ttl_seconds": 60}), 404, "not_found")
    problem(bob.delete(f"{path}/{lease['lease_id']}"), 404, "not_found")
    problem(nobody.post(path, BODY), 401, "unauthenticated")


def test_leases_need_their_scope(alice: Caller, core: Core, session_id: str) -> None:
    """sessions:open, whatever else a key may do."""
    reader = with_key(alice.client, core, tenant_id="alice", scopes=("sessions:read", "sessions:write", "logins"))
    lease = acquire(alice, session_id)
    path = f"/v1/sessions/{session_id}/lease"
    problem(reader.post(path, BODY), 403, "forbidden")
    problem(reader.put(f"{path}/{lease['lease_id']}", {"ttl_seconds": 60}), 403, "forbidden")
    problem(reader.delete(f"{path}/{lease['lease_id']}"), 403, "forbidden")
