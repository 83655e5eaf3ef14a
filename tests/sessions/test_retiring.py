"""Retiring: what nobody has used for long is revoked, by policy."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import update

from app.clock import utc_now
from app.core import Core
from app.models import TelegramSession, Tenant
from app.sessions.retiring import retire_idle_sessions
from app.sessions.revocation import LOG_OUT_TASK
from tests.builders import Sent
from tests.sessions.rows import give_session


def set_policy(core: Core, days: int | None, *, tenant: str = "alice") -> None:
    """Write a tenant's policy."""
    with core.transaction() as db:
        db.execute(update(Tenant).where(Tenant.id == tenant).values(session_max_idle_days=days))


def test_idle_sessions_are_revoked_by_their_tenants_policy(core: Core, sent: Sent) -> None:
    """With the reason idle; those in use, leased, or of a tenant without a policy stay."""
    set_policy(core, 30)
    long_ago = utc_now() - timedelta(days=31)
    idle, _ = give_session(core, last_used_at=long_ago)
    give_session(core, last_used_at=utc_now() - timedelta(days=29))
    give_session(core, tenant="bob", last_used_at=long_ago)
    give_session(
        core,
        last_used_at=long_ago,
        lease_id="lse_1",
        lease_holder="bot-1",
        lease_expires_at=utc_now() + timedelta(seconds=60),
    )
    assert retire_idle_sessions(core) == 1
    assert sent.tasks == [(LOG_OUT_TASK, idle)]
    with core.transaction() as db:
        row = db.get_one(TelegramSession, idle)
    assert (row.status, row.reason, row.logout_pending) == ("revoking", "idle", True)
    assert retire_idle_sessions(core) == 0


def test_the_installations_policy_serves_tenants_without_one(core: Core) -> None:
    """A tenant's 0 is never, whatever the installation says."""
    long_ago = utc_now() - timedelta(days=8)
    give_session(core, last_used_at=long_ago)
    give_session(core, tenant="bob", last_used_at=long_ago)
    set_policy(core, 0, tenant="bob")
    assert retire_idle_sessions(core) == 0
    strict = replace(core, settings=core.settings.model_copy(update={"session_max_idle_days": 7}))
    assert retire_idle_sessions(strict) == 1
