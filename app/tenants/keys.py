"""API keys: shown once, stored as a hash, with scopes. Authenticating one says whose it is and what it may do."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, get_args

from pydantic import BaseModel, Field
from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import Timestamp, utc_now
from app.database import Transaction
from app.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from app.ids import hash_secret, new_id, new_secret
from app.models import ApiKey, Tenant
from app.tenants.store import get_tenant
from app.vault.audit import record_event

Scope = Literal["logins", "sessions:read", "sessions:open", "sessions:write", "webhooks", "audit", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_PREFIX_LENGTH = 9  # "lk_" and six characters: enough to tell keys apart, nothing to guess from
_USE_IS_NOTED_EVERY = timedelta(minutes=1)


class Caller(NamedTuple):
    """Who a request is from, by its API key."""

    key_id: str
    tenant_id: str
    scopes: frozenset[str]

    @property
    def actor(self) -> str:
        """How the audit names it."""
        return f"api-key:{self.key_id}"


class ApiKeyView(BaseModel):
    """An API key as it is listed: never the key itself."""

    id: str
    tenant_id: str
    name: str
    key_prefix: str
    scopes: list[Scope]
    created_at: Timestamp
    last_used_at: Timestamp | None
    revoked_at: Timestamp | None


class NewApiKeyView(ApiKeyView):
    """An API key on the one occasion that it is shown."""

    key: str = Field(repr=False)


def create_api_key(
    transaction: Transaction, *, actor: str, tenant_id: str, scopes: Collection[str], name: str = ""
) -> NewApiKeyView:
    """Make an API key for a tenant.

    Args:
        actor: who does it, for the audit.
        scopes: at least one of ``SCOPES``.

    Returns:
        The key's only appearance: afterwards its hash is all there is.

    Raises:
        InvalidInput: no scope, or one that does not exist.
        NotFound: there is no such tenant.
        Conflict: ``tenant_disabled``.
    """
    secret = new_secret("lk")
    row = ApiKey(
        id=new_id("key"),
        tenant_id=tenant_id,
        name=name,
        key_prefix=secret[:_PREFIX_LENGTH],
        key_hash=hash_secret(secret),
        scopes=_checked(scopes),
        created_at=utc_now(),
        last_used_at=None,
        revoked_at=None,
    )
    with transaction() as db:
        if get_tenant(db, tenant_id=tenant_id).disabled_at is not None:
            raise Conflict(f"Tenant {tenant_id} is disabled.", code="tenant_disabled")
        db.add(row)
        record_event(
            db,
            tenant_id=tenant_id,
            actor=actor,
            action="api_key.created",
            subject=row.id,
            details={"scopes": row.scopes},
        )
    return NewApiKeyView(**_view(row).model_dump(), key=secret)


def list_api_keys(transaction: Transaction, *, tenant_id: str) -> list[ApiKeyView]:
    """List a tenant's API keys, revoked ones too, oldest first.

    Raises:
        NotFound: there is no such tenant.
    """
    with transaction() as db:
        get_tenant(db, tenant_id=tenant_id)
        rows = db.scalars(select(ApiKey).where(ApiKey.tenant_id == tenant_id).order_by(ApiKey.created_at, ApiKey.id))
        return [_view(row) for row in rows]


def revoke_api_key(transaction: Transaction, *, actor: str, key_id: str, tenant_id: str | None = None) -> ApiKeyView:
    """Stop an API key from working, at once. May be repeated; the first time counts.

    Args:
        tenant_id: whose it must be; None: anybody's.

    Raises:
        NotFound: there is no such key.
    """
    with transaction() as db:
        row = db.get(ApiKey, key_id, with_for_update=True)
        if row is None or (tenant_id is not None and row.tenant_id != tenant_id):
            raise NotFound(f"There is no API key {key_id}.")
        if row.revoked_at is None:
            row.revoked_at = utc_now()
            record_event(db, tenant_id=row.tenant_id, actor=actor, action="api_key.revoked", subject=key_id)
        return _view(row)


def authenticate(transaction: Transaction, *, key: str) -> Caller:
    """Say who a key belongs to, and note its use (at most once a minute).

    Raises:
        Unauthenticated: unknown, revoked, or its tenant is disabled; the answer does not tell which.
        Unavailable: the database is away.
    """
    with transaction() as db:
        row = db.scalar(
            select(ApiKey)
            .join(Tenant, Tenant.id == ApiKey.tenant_id)
            .where(ApiKey.key_hash == hash_secret(key), ApiKey.revoked_at.is_(None), Tenant.disabled_at.is_(None))
        )
        if row is None:
            raise Unauthenticated("This API key is not valid.")
        _note_use(db, row, now=utc_now())
        return Caller(key_id=row.id, tenant_id=row.tenant_id, scopes=frozenset(row.scopes))


def _note_use(db: DatabaseSession, row: ApiKey, *, now: datetime) -> None:
    stale = now - _USE_IS_NOTED_EVERY
    if row.last_used_at is not None and row.last_used_at > stale:
        return
    # Many requests of one key may get here at once: whoever finds the row locked leaves it to the other.
    free = select(ApiKey.id).where(ApiKey.id == row.id).with_for_update(skip_locked=True).scalar_subquery()
    db.execute(
        update(ApiKey)
        .where(ApiKey.id == free, or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= stale))
        .values(last_used_at=func.now())
        .execution_options(synchronize_session=False)
    )


def _checked(scopes: Collection[str]) -> list[str]:
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise InvalidInput(
            f"There is no scope {', '.join(unknown)}." if unknown else "An API key needs at least one scope.",
            errors=(("scopes", f"must be some of {', '.join(SCOPES)}"),),
        )
    return [scope for scope in SCOPES if scope in scopes]


def _view(row: ApiKey) -> ApiKeyView:
    return ApiKeyView.model_validate(row, from_attributes=True)
