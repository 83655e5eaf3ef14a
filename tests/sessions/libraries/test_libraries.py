"""Sessions go from any library to Latchkey and back, with the libraries themselves, over HTTP, on the sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.telegram.session_formats import LIBRARIES, SessionFormat
from tests.sessions.libraries.conftest import GetLibrary
from tests.sessions.libraries.foreign import ForeignLibrary
from tests.sessions.stage import Stage
from tests.web.callers import Caller, members, with_key
from web import create_app

pytestmark = pytest.mark.timeout(300)  # the first test may have to install


@pytest.fixture
def alice(stage: Stage) -> Iterator[Caller]:
    """Alice, at a web application on the stage's stores."""
    app = create_app(stage.settings)
    yield with_key(app.test_client(), stage.core, tenant_id="alice")
    parts = app.extensions["latchkey"]
    parts.watch.close()
    parts.core.engine.dispose()
    parts.core.redis.close()


def bring(stage: Stage, alice: Caller, string: str, **fields: object) -> str:
    """Import a string session and have it validated; the session's id."""
    answer = alice.post("/v1/sessions", {"session_string": string, **fields})
    assert answer.status_code == 202, answer.text
    session_id = str(members(answer)["id"])
    assert stage.validate(session_id) == {"ok": 1}
    return session_id


def whose(alice: Caller, session_id: str, session_format: SessionFormat, library: ForeignLibrary) -> int:
    """Lease a session to a library, and ask it whose the session is."""
    body = {"holder": session_format, "ttl_seconds": 60, "format": session_format}
    answer = alice.post(f"/v1/sessions/{session_id}/lease", body)
    assert answer.status_code == 201, answer.text
    lease = members(answer)
    user_id = library.whose(lease["session_string"])
    released = alice.delete(f"/v1/sessions/{session_id}/lease/{lease['lease_id']}?healthy=true")
    assert released.status_code == 204
    return user_id


def broken_rules(stage: Stage) -> dict[str, int]:
    """The rules of Telegram that were broken; what a foreign library's pace is, is not ours to say."""
    return {name: count for name, count in stage.violations().items() if name != "unpaced"}


@pytest.mark.parametrize("session_format", LIBRARIES)
@pytest.mark.parametrize("dc_id", [2, 3])
def test_a_librarys_session_comes_and_goes_back(
    stage: Stage, alice: Caller, get_library: GetLibrary, session_format: SessionFormat, dc_id: int
) -> None:
    """Logged in and exported by the library, imported, active, leased to the library, alive, and never used by two.

    At the data centre where logins begin, with its form said, and at another one, with its form recognised.
    """
    library, account = get_library(session_format), stage.telegram.create_account(dc_id=dc_id)
    string = library.log_in(account)
    session_id = bring(stage, alice, string, **({"format": session_format} if dc_id == 2 else {}))
    session = members(alice.get(f"/v1/sessions/{session_id}"))
    assert (session["status"], session["telegram_user_id"]) == ("active", account["id"])
    assert session["dc_id"] == dc_id

    assert whose(alice, session_id, session_format, library) == account["id"]
    assert stage.validate(session_id) == {"ok": 1}
    assert len(stage.telegram.authorizations(account["id"])) == 1
    assert broken_rules(stage) == {}


@pytest.mark.parametrize("session_format", LIBRARIES)
def test_a_session_is_leased_to_any_library(
    stage: Stage, alice: Caller, get_library: GetLibrary, session_format: SessionFormat
) -> None:
    """Whatever made it."""
    user_id, string = stage.logged_in()
    session_id = stage.keep(user_id, string)
    assert whose(alice, session_id, session_format, get_library(session_format)) == user_id
    assert stage.validate(session_id) == {"ok": 1}
    assert broken_rules(stage) == {}
