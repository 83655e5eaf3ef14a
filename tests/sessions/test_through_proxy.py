"""What a session keeps, it uses: Telegram is reached through the proxy of each session, and never past it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote

import pytest

from app.models import Tenant
from app.sessions.proxies import set_session_proxy
from app.sessions.revocation import revoke_session
from tests.sessions.conftest import StageMaker
from tests.sessions.socks import PASSWORD, USER, SocksProxy
from tests.sessions.stage import Stage


@pytest.fixture
def proxy() -> Iterator[SocksProxy]:
    """A proxy that wants a password."""
    with SocksProxy() as running:
        yield running


def url(proxy: SocksProxy, *, password: str = PASSWORD) -> str:
    """Where it is, as a setting names it."""
    return f"socks5://{USER}:{quote(password, safe='')}@127.0.0.1:{proxy.port}"


def change_settings(stage: Stage, proxy_url: str | None) -> None:
    """Go on under another TELEGRAM_PROXY, as after a restart."""
    settings = stage.settings.model_copy(update={"telegram_proxy": proxy_url})
    stage.settings, stage.core = settings, replace(stage.core, settings=settings)


def test_a_session_goes_on_through_the_proxy_that_it_was_made_through(
    make_stage: StageMaker, proxy: SocksProxy
) -> None:
    """The setting is gone: it is validated and logged out through its own proxy all the same."""
    stage = make_stage(telegram_proxy=url(proxy))
    session_id = stage.connect(stage.account())
    change_settings(stage, None)
    direct = stage.connect()
    proxy.connected_to.clear()
    assert stage.validate(direct) == {"ok": 1}
    assert proxy.connected_to == []
    assert stage.validate(session_id) == {"ok": 1}
    assert len(proxy.connected_to) == 1
    revoke_session(stage.core, tenant_id="alice", session_id=session_id, actor="test", reason="requested")
    assert stage.log_out(session_id) == "done"
    assert len(proxy.connected_to) == 3  # the log-out, and the look that verifies it


def test_a_session_that_was_made_without_a_proxy_stays_without(stage: Stage, proxy: SocksProxy) -> None:
    """A setting that comes later is for sessions to come; by hand it is changed for one."""
    session_id = stage.connect()
    change_settings(stage, url(proxy))
    assert stage.validate(session_id) == {"ok": 1}
    assert proxy.connected_to == []
    set_session_proxy(stage.core, session_id=session_id, proxy=url(proxy), actor="cli:test")
    assert stage.validate(session_id) == {"ok": 1}
    assert len(proxy.connected_to) == 1


def test_a_proxy_that_refuses_is_no_death_and_is_not_gone_past(
    stage: Stage, proxy: SocksProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its password is wrong: the session is unreachable, nothing goes out directly, and nothing is said of the password."""
    session_id = stage.connect()
    set_session_proxy(stage.core, session_id=session_id, proxy=url(proxy, password="hunter2"), actor="cli:test")
    asked = stage.calls("help.getConfig")
    assert stage.validate(session_id) == {"unreachable": 1}
    assert proxy.connected_to == []
    assert stage.calls("help.getConfig") == asked
    assert stage.row(session_id).status == "active"
    assert "hunter2" not in capsys.readouterr().out


def test_a_tenants_proxy_that_cannot_be_told_its_password_is_refused(
    stage: Stage, proxy: SocksProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    """No start looks at a tenant's row: refused when it is used, without a word of the password, and without going past it."""
    session_id = stage.connect()
    stage.change(session_id, device={})  # from before proxies were kept: the tenant's present one serves
    with stage.core.transaction() as db:
        db.get_one(Tenant, "alice").telegram = {"proxy": f"socks5://{USER}:hunter2\u00fc@127.0.0.1:{proxy.port}"}
    asked = stage.calls("help.getConfig")
    assert stage.validate(session_id) == {"refused": 1}
    assert stage.calls("help.getConfig") == asked
    assert stage.row(session_id).status == "active"
    assert "hunter2" not in capsys.readouterr().out
