"""The proxy that a session was made through stays its proxy, sealed, until it is changed by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError
from sqlalchemy import select

from app.cli import cli
from app.core import Core
from app.errors import InvalidInput
from app.models import AuditEvent, TelegramSession
from app.sessions.holding import HeldSession, hold_session, release_session
from app.sessions.proxies import set_session_proxy
from app.vault.rotation import rotate_keys
from tests.builders import Sent, make_core
from tests.sessions.rows import give_session

FIRST, SECOND = "socks5://alice:first-secret@127.0.0.1:1080", "http://bob:second-secret@127.0.0.1:3128"


def with_proxy(core: Core, proxy: str | None) -> Core:
    """The same installation under other settings."""
    return make_core(core.settings.model_copy(update={"telegram_proxy": proxy}), sent=Sent())


def held(core: Core, session_id: str) -> HeldSession:
    """Hold a session for a moment, as a validation does."""
    found = hold_session(core, session_id=session_id, holder="latchkey:test", reason="test", statuses=("active",))
    assert found is not None
    release_session(core, found)
    return found


def test_a_session_keeps_its_proxy_when_the_settings_change(core: Core) -> None:
    """One that was made without stays without; one from before proxies were kept goes by the settings."""
    proxied, _ = give_session(with_proxy(core, FIRST))
    direct, _ = give_session(core)
    old, _ = give_session(core, device={"api_id": 12345})
    later = with_proxy(core, SECOND)
    assert [held(later, each).identity.proxy for each in (proxied, direct, old)] == [FIRST, None, SECOND]


def test_a_proxy_is_sealed_and_rotated_like_its_session(core: Core) -> None:
    """No password stands in the row, and a new data key takes it along."""
    session_id, _ = give_session(with_proxy(core, FIRST))
    rotate_keys(
        transaction=core.transaction, keyring=core.keyring, actor="test", max_age=timedelta(days=90), force=True
    )
    with core.transaction() as db:
        row = db.get_one(TelegramSession, session_id)
    assert row.proxy_sealed is not None
    assert b"first-secret" not in row.proxy_sealed
    assert "first-secret" not in repr(row.device)
    assert held(core, session_id).identity.proxy == FIRST


def test_a_proxy_is_changed_by_hand(core: Core) -> None:
    """Audited, and the session is due for a backup; what is no proxy is refused without being repeated."""
    session_id, _ = give_session(with_proxy(core, FIRST))
    version = held(core, session_id).row.version
    set_session_proxy(core, session_id=session_id, proxy=SECOND, actor="cli:test")
    found = held(core, session_id)
    assert (found.identity.proxy, found.row.version) == (SECOND, version + 1)
    set_session_proxy(core, session_id=session_id, proxy=None, actor="cli:test")
    assert held(with_proxy(core, FIRST), session_id).identity.proxy is None
    with core.transaction() as db:
        events = db.scalars(select(AuditEvent).where(AuditEvent.action == "session.proxy_changed")).all()
    assert [event.subject for event in events] == [session_id, session_id]
    with pytest.raises(InvalidInput) as refused:
        set_session_proxy(core, session_id=session_id, proxy="socks5://a:hunter2@nowhere", actor="cli:test")
    assert "hunter2" not in str(refused.value) + repr(refused.value.errors)


@pytest.fixture
def environment(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installation's settings, where a command finds them."""
    settings = core.settings
    for name, value in {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "TELEGRAM_API_ID": str(settings.telegram_api_id),
        "TELEGRAM_API_HASH": settings.telegram_api_hash.get_secret_value(),
        "LOCAL_KEY_FILE": str(settings.local_key_file),
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("environment")
def test_the_command_asks_for_the_proxy(core: Core) -> None:
    """Hidden, so that its password stays out of the shell's history."""
    session_id, _ = give_session(core)
    ran = CliRunner().invoke(cli, ["sessions", "set-proxy", session_id], input=f"{FIRST}\n")
    assert ran.exit_code == 0, ran.output
    assert "first-secret" not in ran.output
    assert held(core, session_id).identity.proxy == FIRST


@pytest.mark.usefixtures("environment")
def test_the_command_changes_many_sessions_at_once(core: Core) -> None:
    """A proxy that moves is changed with one command and typed once; an empty one is none."""
    session_ids = [give_session(with_proxy(core, FIRST))[0] for _ in range(3)]
    ran = CliRunner().invoke(cli, ["sessions", "set-proxy", *session_ids], input=f"{SECOND}\n")
    assert ran.exit_code == 0, ran.output
    assert [held(core, each).identity.proxy for each in session_ids] == [SECOND] * 3
    ran = CliRunner().invoke(cli, ["sessions", "set-proxy", *session_ids[:2]], input="\n")
    assert ran.exit_code == 0, ran.output
    assert [held(core, each).identity.proxy for each in session_ids] == [None, None, SECOND]


@pytest.mark.usefixtures("environment")
def test_the_command_says_what_is_wrong(core: Core) -> None:
    """A sentence that helps, without the password; a session that is not there is named."""
    session_id, _ = give_session(core)
    ran = CliRunner().invoke(cli, ["sessions", "set-proxy", session_id], input="socks5://a:hunter2@nowhere\n")
    assert ran.exit_code == 1
    assert "socks5://user:password@host:1080" in ran.output
    assert "hunter2" not in ran.output
    ran = CliRunner().invoke(cli, ["sessions", "set-proxy", "ses_unknown"], input=f"{FIRST}\n")
    assert (ran.exit_code, "ses_unknown" in ran.output) == (1, True)


@pytest.mark.parametrize("credentials", ["j%C3%BCrgen:secret", "alice:пароль", "alice:gr\u00fcn"])
def test_credentials_that_no_proxy_takes_are_refused_at_the_start(core: Core, credentials: str) -> None:
    """python-socks knows ASCII only; the message says so and does not repeat them."""
    values = core.settings.model_dump() | {"telegram_proxy": f"socks5://{credentials}@127.0.0.1:1080"}
    with pytest.raises(ValidationError) as refused:
        type(core.settings)(_env_file=None, **values)
    (error,) = refused.value.errors()
    assert "ASCII" in error["msg"]
    assert credentials.partition(":")[2] not in error["msg"]


def test_no_settings_show_a_password(core: Core, tmp_path: Path) -> None:
    """Not in a repr, which is what a traceback and a log show."""
    secrets = {"database_url": "postgresql://u:pg-secret@h/d", "redis_url": "redis://:redis-secret@h/0"}
    settings = core.settings.model_copy(update=secrets | {"telegram_proxy": FIRST})
    shown = repr(settings) + str(settings) + repr(replace(core, settings=settings))
    assert [each for each in ("pg-secret", "redis-secret", "first-secret") if each in shown] == []
    assert tmp_path
