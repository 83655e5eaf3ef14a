"""The straight path of a QR login, and its ends, over real MTProto."""

from __future__ import annotations

import base64

import pytest
from sqlalchemy import select
from telethon import TelegramClient
from telethon.sessions import StringSession

from app.models import Login, TelegramSession
from app.telegram.string_sessions import read_string_session
from app.vault.places import session_place
from app.vault.sealing import Sealed
from tests.logins.stage import Stage
from tests.waiting import wait_until


def test_a_scan_ends_in_a_sealed_session(stage: Stage) -> None:
    """queued → waiting_for_scan → authorized, after get_me(); the session is sealed under a key id and works in Telethon."""
    alice = stage.telegram.create_account(first_name="Alice", username="alice", phone="+4915112345617")
    started = stage.start(metadata={"order": "17"})
    assert started.login.status == "queued"
    url = stage.wait_for_qr(started.login.id)
    stage.telegram.scan(alice["id"], url)
    login = stage.wait_for(started.login.id, "authorized")
    assert login.telegram_user_id == alice["id"]
    assert login.qr is None
    (session,) = stage.sessions()
    assert login.session_id == session.id
    assert (session.status, session.username, session.first_name) == ("active", "alice", "Alice")
    assert session.phone_masked == "+49•••••••••17"
    assert session.client_metadata == {"order": "17"}
    assert session.key_id is not None
    assert session.session_sealed is not None
    place = session_place("alice", session.id)
    opened = stage.core.keyring.open(place, Sealed(session.key_id, session.session_sealed)).decode()
    auth_key, _ = read_string_session(opened)
    assert auth_key not in session.session_sealed
    assert _who(stage, opened) == alice["id"]


def _who(stage: Stage, string_session: str) -> int:
    """Ask Telegram through an ordinary Telethon client."""

    async def ask() -> int:
        client = TelegramClient(
            StringSession(string_session),
            stage.settings.telegram_api_id,
            stage.settings.telegram_api_hash.get_secret_value(),
        )
        await client.connect()
        try:
            return int((await client.get_me()).id)
        finally:
            await client.disconnect()

    return stage.workers[0].telegram.runtime.run(ask(), timeout_seconds=15)


def test_the_row_keeps_nothing_after_the_end(stage: Stage) -> None:
    """An authorized login's auth key lives in the session alone; nothing is left to log out."""
    alice = stage.telegram.create_account()
    started = stage.start()
    stage.telegram.scan(alice["id"], stage.wait_for_qr(started.login.id))
    stage.wait_for(started.login.id, "authorized")
    with stage.core.transaction() as db:
        row = db.scalars(select(Login)).one()
        assert (row.auth_key_sealed, row.phone_sealed) == (None, None)
    assert stage.leaving_keys() == []


def test_a_qr_code_is_renewed_when_its_token_expires(fast_tokens: Stage) -> None:
    """Each new token is a new URL and a new version; the renewed one can be scanned."""
    stage = fast_tokens
    alice = stage.telegram.create_account()
    started = stage.start()
    first = stage.wait_for_qr(started.login.id)
    second = stage.wait_for_qr(started.login.id, other_than=first)
    third = stage.wait_for_qr(started.login.id, other_than=second)
    assert len({first, second, third}) == 3
    stage.telegram.scan(alice["id"], third)
    stage.wait_for(started.login.id, "authorized")
    assert stage.violations() == {}


def test_a_lost_update_costs_a_poll_and_no_more(quick_polls: Stage) -> None:
    """When updateLoginToken never comes, the next export finds the scan."""
    stage = quick_polls
    alice = stage.telegram.create_account()
    started = stage.start()
    url = stage.wait_for_qr(started.login.id)
    stage.telegram.add_fault(method="*", lose_update=True, times=1)
    stage.telegram.scan(alice["id"], url)
    stage.wait_for(started.login.id, "authorized")


@pytest.mark.parametrize("accept", ["next_export", "at_once"])
def test_both_ways_of_telegram_to_accept_a_scan_are_understood(stage: Stage, accept: str) -> None:
    """Some keys are authorized at once, others by their next export."""
    alice = stage.telegram.create_account(accept=accept)
    started = stage.start()
    stage.telegram.scan(alice["id"], stage.wait_for_qr(started.login.id))
    stage.wait_for(started.login.id, "authorized")


def test_a_login_that_nobody_scans_expires(short_lives: Stage) -> None:
    """After its life it ends by itself, and leaves no authorization behind."""
    stage = short_lives
    started = stage.start()
    stage.wait_for_qr(started.login.id)
    login = stage.wait_for(started.login.id, "expired", within_seconds=25)
    assert login.reason is None
    assert login.qr is None
    assert stage.sessions() == []
    assert stage.new("authorized_keys") == 0
    wait_until(lambda: stage.new("connections") <= 0)


def test_a_wrong_api_id_fails_the_login_with_its_reason(stage: Stage) -> None:
    """What the operator must mend is not dressed up as an outage."""
    stage.telegram.add_fault(method="auth.exportLoginToken", error="API_ID_INVALID", times=1)
    login = stage.wait_for(stage.start().login.id, "failed")
    assert login.reason == "api_id_invalid"


def test_a_second_runner_sees_the_lock_and_leaves(stage: Stage) -> None:
    """Two workers, one login: one auth key, one conversation."""
    stage.add_worker()
    alice = stage.telegram.create_account()
    started = stage.start()
    stage.run(started.login.id, worker=1)
    stage.run(started.login.id, worker=0)
    url = stage.wait_for_qr(started.login.id)
    wait_until(lambda: [each.name for each in stage.outcomes] == ["not_mine", "not_mine"])
    stage.telegram.scan(alice["id"], url)
    stage.wait_for(started.login.id, "authorized")
    assert stage.new("auth_keys") == 1
    assert len(stage.sessions()) == 1


def test_the_login_url_carries_the_token_as_telegram_wants_it(stage: Stage) -> None:
    """base64url without padding; sealed in Redis."""
    started = stage.start()
    url = stage.wait_for_qr(started.login.id)
    text = url.removeprefix("tg://login?token=")
    token = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    assert len(token) >= 16
    for key in stage.core.redis.scan_iter("latchkey:login:*"):
        if stage.core.redis.type(key) == b"string":
            value = stage.core.redis.get(key)
            assert isinstance(value, bytes)
            assert token not in value
            assert text.encode() not in value
    with stage.core.transaction() as db:
        assert db.scalars(select(TelegramSession)).all() == []
