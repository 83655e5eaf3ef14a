"""Importing and leasing in the forms of all libraries; what is kept is always Telethon's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.errors import Conflict, InvalidInput
from app.models import TelegramSession
from app.settings import DataCentre
from app.telegram.session_formats import LIBRARIES, SessionFormat, read_session, write_session
from app.telegram.string_sessions import read_string_session
from app.vault.places import session_place
from app.vault.sealing import Sealed
from sandbox.process import RunningSandbox
from tests.sessions.imports import at_server, bring, run_import, string_at
from tests.sessions.stage import Stage


def in_form(string: str, session_format: SessionFormat, *, host: str | None = None) -> str:
    """What another library would have written of a Telethon string session."""
    auth_key, data_centre = read_string_session(string)
    return write_session(
        session_format,
        auth_key=auth_key,
        data_centre=data_centre._replace(host=host or data_centre.host),
        api_id=12345,
        telegram_user_id=999_999_999,
    )


@pytest.mark.parametrize("session_format", LIBRARIES)
@pytest.mark.parametrize("said", [True, False])
def test_any_librarys_string_session_is_imported(stage: Stage, session_format: SessionFormat, said: bool) -> None:
    """It is kept in Telethon's form; the user id that a library noted in it is not believed, Telegram says whose it is."""
    user_id, string = stage.logged_in()
    row = bring(stage, in_form(string, session_format), session_format=session_format if said else None)
    assert run_import(stage) == {"ok": 1}
    assert (stage.row(row.id).status, stage.row(row.id).telegram_user_id) == ("active", user_id)
    assert stage.lease(row.id).session_string == string
    assert stage.violations() == {}


@pytest.mark.parametrize("session_format", LIBRARIES)
def test_one_auth_key_is_one_session_in_any_form(stage: Stage, session_format: SessionFormat) -> None:
    """Another library's form of it is no other session."""
    _, string = stage.logged_in()
    bring(stage, string)
    with pytest.raises(Conflict) as refused:
        bring(stage, in_form(string, session_format))
    assert refused.value.code == "session_exists"


@pytest.mark.parametrize("session_format", LIBRARIES)
def test_a_form_that_does_not_fit_the_one_said_is_refused(stage: Stage, session_format: SessionFormat) -> None:
    """And is told which one it is."""
    other: SessionFormat = "mtcute" if session_format == "telethon" else "telethon"
    with pytest.raises(InvalidInput) as refused:
        bring(stage, in_form(string_at("149.154.167.51"), session_format), session_format=other)
    ((field, message),) = refused.value.errors
    assert field == "session_string"
    assert message.endswith(f"it is one of {LIBRARIES[session_format]}")


@pytest.mark.parametrize("session_format", ["gramjs", "mtcute"])
def test_another_host_is_refused_in_any_form(stage: Stage, session_format: SessionFormat) -> None:
    """Pyrogram's form has no room for one. A host name is refused without being looked up."""
    with pytest.raises(InvalidInput):
        bring(stage, in_form(string_at("10.0.0.7"), session_format))
    with pytest.raises(InvalidInput):
        bring(stage, in_form(string_at("10.0.0.7"), "gramjs", host="nowhere.invalid"))


def test_a_configured_host_name_is_the_servers(stage: Stage) -> None:
    """GramJS keeps the name that it was given."""
    stage.core = at_server(stage, "localhost")
    row = bring(stage, in_form(string_at("127.0.0.1", port=4430), "gramjs", host="localhost"))
    auth_key, data_centre = read_string_session(stage_string(stage, row))
    assert (data_centre, len(auth_key)) == (DataCentre(2, "127.0.0.1", 4430), 256)


def stage_string(stage: Stage, row: TelegramSession) -> str:
    """What is sealed in a row."""
    assert row.session_sealed is not None
    assert row.key_id is not None
    place = session_place(row.tenant_id, row.id)
    return stage.core.keyring.open(place, Sealed(row.key_id, row.session_sealed)).decode()


def test_a_data_centre_that_is_only_numbered_is_telegrams(stage: Stage) -> None:
    """Pyrogram leaves the address out. A number that Telegram does not have is refused."""
    stage.core = replace(stage.core, settings=stage.settings.model_copy(update={"telegram_dc_address": None}))
    sealed = stage_string(stage, bring(stage, in_form(string_at("127.0.0.1", dc_id=3), "pyrogram")))
    assert read_string_session(sealed)[1] == DataCentre(3, "149.154.175.100", 443)
    with pytest.raises(InvalidInput) as refused:
        bring(stage, in_form(string_at("127.0.0.1", dc_id=9), "pyrogram"))
    assert "data centre 9" in refused.value.errors[0][1]


def test_another_server_is_asked_where_a_data_centre_is(stage: Stage, sandbox: RunningSandbox) -> None:
    """Once, by the first validation, and nobody else's auth key comes near it; the address is kept, and leased."""
    user_id = stage.account(dc_id=3)
    string = stage.authorize(user_id, at=DataCentre(3, "127.0.0.1", sandbox.dcs[3]))
    row = bring(stage, in_form(string, "pyrogram"))
    assert run_import(stage) == {"ok": 1}
    assert (stage.row(row.id).telegram_user_id, stage.row(row.id).dc_id) == (user_id, 3)
    assert stage.lease(row.id).session_string == string
    assert stage.violations() == {}


def test_a_server_that_cannot_be_asked_is_asked_later(stage: Stage, sandbox: RunningSandbox) -> None:
    """Nothing is known of the session meanwhile."""
    user_id = stage.account(dc_id=3)
    string = stage.authorize(user_id, at=DataCentre(3, "127.0.0.1", sandbox.dcs[3]))
    row = bring(stage, in_form(string, "pyrogram"))
    stage.telegram.network("refuse")
    assert run_import(stage) == {"unreachable": 1}
    assert stage.row(row.id).status == "quarantined"
    stage.telegram.network("ok")
    assert stage.validate(row.id) == {"ok": 1}


def test_a_data_centre_that_the_server_does_not_have_is_the_end(stage: Stage) -> None:
    """Invalid and erased, with a reason."""
    row = bring(stage, in_form(string_at("127.0.0.1", dc_id=9), "pyrogram"))
    assert run_import(stage) == {"invalid": 1}
    row = stage.row(row.id)
    assert (row.status, row.reason, row.session_sealed) == ("invalid", "data_centre_unknown", None)


@pytest.mark.parametrize("session_format", LIBRARIES)
def test_a_lease_gives_the_form_that_is_asked_for(stage: Stage, session_format: SessionFormat) -> None:
    """With the same auth key at the same data centre."""
    user_id, string = stage.logged_in()
    session_id = stage.keep(user_id, string)
    lease = stage.lease(session_id, session_format=session_format)
    read = read_session(lease.session_string)
    auth_key, data_centre = read_string_session(string)
    assert (read.format, read.auth_key, read.data_centre.dc_id) == (session_format, auth_key, data_centre.dc_id)
