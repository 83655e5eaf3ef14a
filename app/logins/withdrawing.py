"""What a revoked API key, or a disabled tenant, takes with it: its logins end and its leases are shortened, in one commit.

Streams that are open for it end by themselves within seconds: whoever serves them looks (``app.tenants.keys.find_barred``). Its
sessions stay: who has leaked them is what ``app.sessions.revocation.revoke_opened`` is for.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import ColumnExpressionArgument, select, update
from sqlalchemy.orm import Session as DatabaseSession

from app.database import Transaction
from app.logins.store import end_from_outside
from app.models import LIVE_LOGIN_STATUSES, Login, TelegramSession
from app.sessions.store import database_now, shortened_lease
from app.tenants.keys import ApiKeyView, mark_key_revoked
from app.tenants.store import TenantView, mark_tenant_disabled


class WithdrawnKey(NamedTuple):
    """A revoked key, and the logins that ended with it."""

    api_key: ApiKeyView
    cancelled: list[Login]


class DisabledTenant(NamedTuple):
    """A disabled tenant, and the logins that ended with it."""

    tenant: TenantView
    cancelled: list[Login]


def withdraw_api_key(
    transaction: Transaction, *, actor: str, key_id: str, tenant_id: str | None = None
) -> WithdrawnKey:
    """Revoke an API key with all that is under way for it. May be repeated.

    Args:
        actor: who does it, for the audit.
        tenant_id: whose it must be; None: anybody's.

    Raises:
        NotFound: there is no such key.
    """
    with transaction() as db:
        revoked = mark_key_revoked(db, actor=actor, key_id=key_id, tenant_id=tenant_id)
        cancelled = _cancel(db, Login.api_key_id == key_id, Login.tenant_id == revoked.tenant_id, actor=actor)
        _shorten(db, TelegramSession.lease_api_key_id == key_id, TelegramSession.tenant_id == revoked.tenant_id)
    return WithdrawnKey(revoked, cancelled)


def withdraw_tenant(transaction: Transaction, *, actor: str, tenant_id: str) -> DisabledTenant:
    """Disable a tenant with all that is under way for it. May be repeated.

    Raises:
        NotFound: there is no such tenant.
    """
    with transaction() as db:
        return withdraw_tenant_in(db, actor=actor, tenant_id=tenant_id)


def withdraw_tenant_in(db: DatabaseSession, *, actor: str, tenant_id: str) -> DisabledTenant:
    """As ``withdraw_tenant``, in the caller's transaction."""
    disabled = mark_tenant_disabled(db, actor=actor, tenant_id=tenant_id)
    cancelled = _cancel(db, Login.tenant_id == tenant_id, actor=actor)
    _shorten(db, TelegramSession.tenant_id == tenant_id, TelegramSession.lease_api_key_id.is_not(None))
    return DisabledTenant(disabled, cancelled)


def _cancel(db: DatabaseSession, *whose: ColumnExpressionArgument[bool], actor: str) -> list[Login]:
    live = db.scalars(select(Login.id).where(Login.status.in_(LIVE_LOGIN_STATUSES), *whose)).all()
    ended = [end_from_outside(db, login_id=login_id, status="cancelled", actor=actor) for login_id in live]
    return [login for login in ended if login is not None]


def _shorten(db: DatabaseSession, *whose: ColumnExpressionArgument[bool]) -> None:
    db.execute(
        update(TelegramSession)
        .where(TelegramSession.lease_expires_at > database_now(), *whose)
        .values(lease_expires_at=shortened_lease())
        .execution_options(synchronize_session=False)
    )
