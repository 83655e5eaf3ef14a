"""Importing: a caller's string session, sealed at once, active once Telegram has said whose it is."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from app.errors import Conflict, InvalidInput, Transient
from app.models import TelegramSession
from app.sessions.importing import import_session
from app.sessions.leases import release_lease
from app.sessions.revocation import revoke_session
from app.settings import DataCentre
from app.telegram.string_sessions import make_string_session, read_string_session
from app.vault.places import session_place
from tests.sessions.imports import at_server, bring, run_import, string_at
from tests.sessions.stage import Stage


def test_an_import_becomes_active_when_telegram_has_answered(stage: Stage) -> None:
    """Quarantined and sealed at once, not leased before; then active, with the account's names."""
    user_id = stage.account(first_name="Alicia", username="alicia")
    string = stage.authorize(user_id)
    row = bring(stage, string, telegram_user_id=user_id)
    assert (row.status, row.reason) == ("quarantined", "imported")
    assert row.session_sealed is not None
    assert string.encode() not in row.session_sealed
    with pytest.raises(Conflict) as refused:
        stage.lease(row.id)
    assert refused.value.code == "session_not_active"

    assert run_import(stage) == {"ok": 1}
    row = stage.row(row.id)
    assert (row.status, row.reason, row.telegram_user_id) == ("active", None, user_id)
    assert (row.first_name, row.username) == ("Alicia", "alicia")
    assert stage.lease(row.id).session_string == string
    assert [action for action, _, _ in stage.audit(row.id)] == [
        "session.imported",
        "lease.refused",
        "session.opened",
        "session.admitted",
        "session.opened",
        "lease.acquired",
    ]


def test_whose_it_is_need_not_be_known(stage: Stage) -> None:
    """Telegram says."""
    user_id = stage.account()
    row = bring(stage, stage.authorize(user_id))
    assert run_import(stage) == {"ok": 1}
    assert stage.row(row.id).telegram_user_id == user_id


def test_another_accounts_session_is_refused_and_not_logged_out(stage: Stage) -> None:
    """Invalid and erased; the authorization belongs to whoever brought it."""
    stage.listen()
    expected, actual = stage.account(), stage.account()
    row = bring(stage, stage.authorize(actual), telegram_user_id=expected)
    assert run_import(stage) == {"ownership_mismatch": 1}
    row = stage.row(row.id)
    assert (row.status, row.reason, row.session_sealed) == ("invalid", "ownership_mismatch", None)
    assert len(stage.telegram.authorizations(actual)) == 1
    assert [event for event, _ in stage.events()] == ["session.invalid"]
    mismatches = stage.core.registry.get_sample_value("telethon_ownership_mismatch_total", {"tenant_id": "alice"})
    assert mismatches == 1


def test_the_flood_wait_of_an_account_that_is_only_claimed_is_not_that_accounts(stage: Stage) -> None:
    """Bob says that his session is Alice's user: until Telegram has said so, its waits change nothing for hers."""
    user_id = stage.account()
    session_id = stage.connect(user_id)
    claimed = stage.logged_in()
    bring(stage, claimed.string_session, tenant="bob", telegram_user_id=user_id)
    stage.telegram.add_fault("users.getUsers", error="FLOOD_WAIT_900", user_id=claimed.user_id)
    assert run_import(stage) == {"flood_wait": 1}
    assert stage.validate(session_id) == {"ok": 1}
    assert stage.violations() == {}


def test_a_dead_session_becomes_invalid_by_its_cause(stage: Stage) -> None:
    """As any other."""
    user_id = stage.account()
    string = stage.authorize(user_id)
    stage.telegram.terminate(user_id)
    row = bring(stage, string)
    assert run_import(stage) == {"invalid": 1}
    assert stage.row(row.id).status == "invalid"


def test_one_auth_key_is_one_session(stage: Stage) -> None:
    """Also across tenants, and also for what a login made: two users of one key would be its end."""
    user_id = stage.account()
    session_id = stage.connect(user_id)
    string = stage.lease(session_id).session_string
    for tenant in ("alice", "bob"):
        with pytest.raises(Conflict) as refused:
            bring(stage, string, tenant=tenant)
        assert refused.value.code == "session_exists"
    with stage.core.transaction() as db:
        assert db.scalar(select(func.count()).select_from(TelegramSession)) == 1
    assert stage.sent.tasks == []


def test_a_user_with_an_active_session_is_refused_a_second(stage: Stage) -> None:
    """At once when the user is named; when Telegram has said who it is, otherwise. The first goes on."""
    user_id = stage.account()
    first = stage.connect(user_id)
    string = stage.authorize(user_id)
    with pytest.raises(Conflict) as refused:
        bring(stage, string, telegram_user_id=user_id)
    assert refused.value.code == "session_exists"

    row = bring(stage, string)
    assert run_import(stage) == {"duplicate": 1}
    row = stage.row(row.id)
    assert (row.status, row.reason, row.session_sealed) == ("invalid", "session_exists", None)
    assert len(stage.telegram.authorizations(user_id)) == 2
    assert stage.validate(first) == {"ok": 1}


def test_a_revoked_sessions_key_may_come_again(stage: Stage) -> None:
    """What was erased holds nothing back."""
    user_id = stage.account()
    string = stage.authorize(user_id)
    bring(stage, string, telegram_user_id=stage.account())
    assert run_import(stage) == {"ownership_mismatch": 1}
    bring(stage, string, telegram_user_id=user_id)
    assert run_import(stage) == {"ok": 1}


def test_a_dead_sessions_key_that_came_again_is_not_logged_out_with_the_dead_one(stage: Stage) -> None:
    """Banned, let back, imported anew: deleting the old session erases it, and the authorization stays the new one's."""
    user_id = stage.account()
    old = stage.connect(user_id)
    lease = stage.lease(old)
    release_lease(stage.core, tenant_id="alice", session_id=old, lease_id=lease.lease_id)
    stage.fault(old, "users.getUsers", error="USER_DEACTIVATED_BAN", times=1)
    assert stage.validate(old) == {"invalid": 1}
    new = bring(stage, lease.session_string, telegram_user_id=user_id)
    assert run_import(stage) == {"ok": 1}

    revoke_session(stage.core, tenant_id="alice", session_id=old, actor="test", reason="requested")
    assert stage.log_out(old) == "done"
    assert (stage.row(old).status, stage.row(old).session_sealed) == ("revoked", None)
    assert [action for action, _, _ in stage.audit(old)][-1] == "session.erased"
    assert stage.calls("auth.logOut") == 0
    assert stage.validate(new.id) == {"ok": 1}


@pytest.mark.parametrize("text", ["", "1", "nonsense", "1" + "A" * 351, "2" + "A" * 352])
def test_what_is_no_string_session_is_refused(stage: Stage, text: str) -> None:
    """422 with the field's name, and nothing of it in the message."""
    with pytest.raises(InvalidInput) as refused:
        bring(stage, text)
    assert [field for field, _ in refused.value.errors] == ["session_string"]


def test_a_session_of_another_host_is_refused(stage: Stage) -> None:
    """The string says where workers connect to: it must be Telegram's."""
    string = make_string_session(auth_key=os.urandom(256), data_centre=DataCentre(2, "10.0.0.7", 443))
    with pytest.raises(InvalidInput):
        bring(stage, string)


def test_telegrams_own_networks_are_telegram(stage: Stage) -> None:
    """Without a TELEGRAM_DC_ADDRESS the published networks count, and nothing else."""
    stage.core = replace(stage.core, settings=stage.settings.model_copy(update={"telegram_dc_address": None}))
    for host, taken in (("149.154.167.51", True), ("91.108.56.130", True), ("127.0.0.1", False), ("8.8.8.8", False)):
        string = make_string_session(auth_key=os.urandom(256), data_centre=DataCentre(2, host, 443))
        if taken:
            assert bring(stage, string).status == "quarantined"
        else:
            with pytest.raises(InvalidInput):
                bring(stage, string)


def test_a_restored_session_becomes_active_or_gives_way(stage: Stage) -> None:
    """Restored ones have no fingerprint yet: it is made before the key is used. A newer session of the account wins."""
    user_id = stage.account()
    older = stage.connect(user_id)
    stage.change(older, status="quarantined", reason="restored", auth_key_hash=None, last_validated_at=None)
    assert stage.validate(older) == {"ok": 1}
    row = stage.row(older)
    assert (row.status, row.reason) == ("active", None)
    assert row.auth_key_hash is not None

    stage.change(older, status="quarantined", reason="restored", auth_key_hash=None)
    newer = stage.connect(user_id)
    assert stage.validate(older) == {"duplicate": 1}
    assert (stage.row(older).status, stage.row(older).logout_pending) == ("replaced", True)
    assert stage.log_out(older) == "done"
    assert stage.validate(newer) == {"ok": 1}
    assert len(stage.telegram.authorizations(user_id)) == 1


def test_a_restored_copy_of_a_living_session_is_not_used(stage: Stage) -> None:
    """Its auth key is another session's: erased, before anything is sent, and not logged out."""
    user_id = stage.account()
    living = stage.connect(user_id)
    string = stage.lease(living).session_string
    copy = bring(stage, stage.authorize(stage.account()))
    sealed = stage.core.keyring.seal(session_place("alice", copy.id), string.encode())
    stage.change(
        copy.id,
        reason="restored",
        session_sealed=sealed.ciphertext,
        key_id=sealed.key_id,
        auth_key_hash=None,
    )
    calls = stage.calls("users.getUsers")
    assert stage.validate(copy.id) == {"duplicate": 1}
    assert (stage.row(copy.id).status, stage.row(copy.id).reason) == ("invalid", "session_exists")
    assert stage.calls("users.getUsers") == calls
    assert stage.row(living).status == "active"


@pytest.mark.parametrize(
    "host",
    [
        "149.154.167.51",
        "91.108.56.100",
        "2001:67c:4e8:f002::a",
        "::ffff:149.154.175.50",
        "127.0.0.1",
        "::ffff:127.0.0.1",
    ],
)
def test_every_data_centres_address_is_accepted(stage: Stage, host: str) -> None:
    """Telegram's own and the configured server's, compared as addresses and not as texts; white space around it is trimmed."""
    row = import_session(
        stage.core, tenant_id="alice", session_string=f" {string_at(host)}\n", telegram_user_id=None, actor="test"
    )
    assert row.status == "quarantined"


@pytest.mark.parametrize(
    "string",
    [
        string_at("8.8.8.8"),
        string_at("10.0.0.1"),
        string_at("149.154.167.51", port=0),
        string_at("149.154.167.51", dc_id=0),
    ],
)
def test_what_is_no_data_centre_is_refused(stage: Stage, string: str) -> None:
    """Workers connect to what the string names: not to any host that a caller likes, nor to port or data centre 0."""
    with pytest.raises(InvalidInput):
        import_session(stage.core, tenant_id="alice", session_string=string, telegram_user_id=None, actor="test")


def test_a_configured_host_name_stands_for_its_addresses(stage: Stage) -> None:
    """A string session has room for an address only: each of the name's is the server's, at any of its ports."""
    stage.core = at_server(stage, "localhost")
    assert bring(stage, string_at("127.0.0.1", port=4433, dc_id=4)).status == "quarantined"
    for host in ("127.0.0.2", "8.8.8.8"):
        with pytest.raises(InvalidInput):
            bring(stage, string_at(host))


def test_a_host_name_that_cannot_be_looked_up_refuses_nobodys_session(stage: Stage) -> None:
    """Whether the string is good is not known: try again later, and nothing is stored. Telegram's own need no look-up."""
    stage.core = at_server(stage, "nowhere.invalid")
    with pytest.raises(Transient):
        bring(stage, string_at("127.0.0.1"))
    with stage.core.transaction() as db:
        assert db.scalar(select(func.count()).select_from(TelegramSession)) == 0
    assert bring(stage, string_at("149.154.167.51")).status == "quarantined"


def test_an_address_is_connected_to_as_what_it_is(stage: Stage) -> None:
    """An IPv4 address that is mapped into IPv6 needs no IPv6 of the workers."""
    user_id, string = stage.logged_in()
    auth_key, dc = read_string_session(string)
    mapped = make_string_session(auth_key=auth_key, data_centre=DataCentre(dc.dc_id, "::ffff:127.0.0.1", dc.port))
    assert read_string_session(mapped)[1].host == "127.0.0.1"
    row = bring(stage, mapped)
    assert run_import(stage) == {"ok": 1}
    assert stage.row(row.id).telegram_user_id == user_id
