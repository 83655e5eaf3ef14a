"""A tenant's own api_id, device names and proxy: its logins use them, and their sessions keep them."""

from __future__ import annotations

from pydantic import SecretStr

from app.models import Tenant
from app.tenants.changes import TenantChanges
from app.tenants.own_settings import change_tenant
from tests.logins.stage import Stage


def test_a_login_is_made_as_its_tenant_and_its_session_stays_so(stage: Stage) -> None:
    """Telegram is told the tenant's api_id and device; what the tenant changes later is for logins to come."""
    changes = TenantChanges(api_id=4711, api_hash=SecretStr("f" * 32), device_model="Acme CRM")
    change_tenant(stage.core, actor="test", tenant_id="alice", changes=changes)
    account = stage.telegram.create_account()
    started = stage.start()
    stage.telegram.scan(account["id"], stage.wait_for_qr(started.login.id))
    stage.wait_for(started.login.id, "authorized")
    (made,) = stage.telegram.authorizations(account["id"])
    assert (made["api_id"], made["device_model"]) == (4711, "Acme CRM")
    later = TenantChanges(api_id=None, api_hash=None, device_model="New")
    change_tenant(stage.core, actor="test", tenant_id="alice", changes=later)
    (session,) = stage.sessions()
    assert (session.device["api_id"], session.device["device_model"]) == (4711, "Acme CRM")


def test_a_login_whose_tenants_secret_does_not_open_ends(stage: Stage) -> None:
    """No worker would open it: the login ends, and does not go past the proxy."""
    changes = TenantChanges(proxy=SecretStr("socks5://u:p@127.0.0.1:1"))
    change_tenant(stage.core, actor="test", tenant_id="alice", changes=changes)
    with stage.core.transaction() as db:
        db.get_one(Tenant, "alice").proxy_sealed = b"changed"
    started = stage.start()
    ended = stage.wait_for(started.login.id, "failed")
    assert ended.reason == "internal_error"
    assert stage.calls("auth.exportLoginToken") == 0
