"""API keys: shown once, stored as a hash, with scopes. Authenticating one says whose it is and what it may do."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, Field
from sqlalchemy import Row, Select, func, or_, select, update
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import Timestamp, utc_now
from app.database import BYTES_KEYS, ReadRow, Transaction
from app.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from app.ids import hash_secret, new_id, new_secret
from app.logs import get_logger
from app.models import ApiKey, Tenant
from app.tenants.store import get_tenant
from app.vault.audit import record_event

Scope = Literal["logins", "sessions:read", "sessions:open", "sessions:write", "webhooks", "audit", "identity", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_PREFIX_LENGTH = 9  # "lk_" and six characters: enough to tell keys apart, nothing to guess from
_USE_IS_NOTED_EVERY = timedelta(minutes=1)

_NOT_VALID = "This API key is not valid."
_STANDING: Select[*tuple[Any, ...]] = (
    select(
        ApiKey.key_hash,
        ApiKey.id,
        ApiKey.tenant_id,
        ApiKey.scopes,
        ApiKey.networks,
        ApiKey.expires_at,
        ApiKey.last_used_at,
    )
    .join(Tenant, Tenant.id == ApiKey.tenant_id)
    .where(ApiKey.key_hash == BYTES_KEYS, ApiKey.revoked_at.is_(None), Tenant.disabled_at.is_(None))
)

_log = get_logger(__name__)


class Caller(NamedTuple):
    """Who a request is from, by its API key."""

    key_id: str
    tenant_id: str
    scopes: frozenset[str]

    @property
    def actor(self) -> str:
        """How the audit names it."""
        return f"api-key:{self.key_id}"


class StandingKey(NamedTuple):
    """An API key that works: not revoked, and its tenant not disabled."""

    caller: Caller
    networks: tuple[str, ...]
    expires_at: datetime | None


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
    expires_at: Timestamp | None
    networks: list[str]


class NewApiKeyView(ApiKeyView):
    """An API key on the one occasion that it is shown."""

    key: str = Field(repr=False)


def create_api_key(
    transaction: Transaction,
    *,
    actor: str,
    tenant_id: str,
    scopes: Collection[str],
    name: str = "",
    expires_at: datetime | None = None,
    networks: Sequence[str] = (),
    maker_tenant_id: str | None = None,
) -> NewApiKeyView:
    """Make an API key for a tenant.

    Args:
        actor: who does it, for the audit.
        scopes: at least one of ``SCOPES``.
        expires_at: when it stops working by itself; None: never.
        networks: CIDR networks that it may be used from; none: from anywhere.
        maker_tenant_id: whose key makes it; None: whoever runs this installation. That a key of another tenant's may open
            sessions is kept in the audit of both.

    Returns:
        The key's only appearance: afterwards its hash is all there is.

    Raises:
        InvalidInput: no scope, one that does not exist, a network that is none, or a time that is over.
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
        expires_at=_in_future(expires_at),
        networks=read_networks(networks),
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
        if "sessions:open" in row.scopes and maker_tenant_id not in (None, tenant_id):
            _tell_both(db, row, actor=actor, maker_tenant_id=str(maker_tenant_id))
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
        return mark_key_revoked(db, actor=actor, key_id=key_id, tenant_id=tenant_id)


def mark_key_revoked(db: DatabaseSession, *, actor: str, key_id: str, tenant_id: str | None) -> ApiKeyView:
    """As ``revoke_api_key``, in the caller's transaction."""
    row = _find(db, key_id, tenant_id)
    if row.revoked_at is None:
        row.revoked_at = utc_now()
        record_event(db, tenant_id=row.tenant_id, actor=actor, action="api_key.revoked", subject=key_id)
    return _view(row)


def change_api_key(
    transaction: Transaction, *, actor: str, tenant_id: str, key_id: str, changes: dict[str, Any]
) -> ApiKeyView:
    """Change an API key's ``name``, ``expires_at`` or ``networks``; its scopes stay what they are.

    Raises:
        NotFound: there is no such key.
        InvalidInput: as in ``create_api_key``.
    """
    if "expires_at" in changes:
        changes = changes | {"expires_at": _in_future(changes["expires_at"])}
    if "networks" in changes:
        changes = changes | {"networks": read_networks(changes["networks"])}
    with transaction() as db:
        row = _find(db, key_id, tenant_id)
        for name, value in changes.items():
            setattr(row, name, value)
        details = {"changed": sorted(changes)}
        record_event(
            db, tenant_id=row.tenant_id, actor=actor, action="api_key.changed", subject=key_id, details=details
        )
        return _view(row)


def find_barred(
    db: DatabaseSession, *, key_ids: Collection[str], tenant_ids: Collection[str]
) -> tuple[set[str], set[str]]:
    """Which of these keys do not work any more, and which of these tenants are disabled: what is open for them must end."""
    dead = or_(ApiKey.revoked_at.is_not(None), ApiKey.expires_at <= func.now())
    keys = db.scalars(select(ApiKey.id).where(ApiKey.id.in_(key_ids), dead)) if key_ids else ()
    off = select(Tenant.id).where(Tenant.id.in_(tenant_ids), Tenant.disabled_at.is_not(None))
    return set(keys), set(db.scalars(off)) if tenant_ids else set()


def authenticate(read_row: ReadRow, transaction: Transaction, *, key: str, address: str | None = None) -> StandingKey:
    """Find the key that works, and note its use (at most once a minute).

    Args:
        address: where the call comes from; None: not known, which only a key that is bound to no network allows.

    Raises:
        Unauthenticated: unknown, revoked, expired, or its tenant is disabled; the answer does not tell which.
        Forbidden: ``network_not_allowed``: it may not be used from there.
        Unavailable: the database is away.
    """
    row = read_row(_STANDING, hash_secret(key))
    found = _standing(row, address=address)
    if row is not None and _is_stale(row.last_used_at):
        with transaction() as db:
            _note_use(db, row.id)
    return found


def authenticate_in(db: DatabaseSession, *, key: str, address: str | None) -> Caller:
    """As ``authenticate``, in the caller's transaction."""
    row = db.execute(_STANDING, {"keys": [hash_secret(key)]}).one_or_none()
    found = _standing(row, address=address)
    if row is not None and _is_stale(row.last_used_at):
        _note_use(db, row.id)
    return found.caller


def admit(key: StandingKey, *, address: str | None) -> Caller:
    """Say whose a key is, if it may be used now and from there.

    Raises:
        Unauthenticated: it has expired.
        Forbidden: ``network_not_allowed``.
    """
    if key.expires_at is not None and key.expires_at <= utc_now():
        raise Unauthenticated(_NOT_VALID)
    if key.networks and not is_inside(address, key.networks):
        raise Forbidden("This API key may not be used from this address.", code="network_not_allowed")
    return key.caller


def read_networks(networks: Sequence[str]) -> list[str]:
    """CIDR networks, written as everybody writes them.

    Raises:
        InvalidInput: one is none.
    """
    try:
        return [str(ipaddress.ip_network(each.strip(), strict=False)) for each in networks]
    except ValueError:
        message = "must be networks such as 203.0.113.0/24 or 2001:db8::/32"
        raise InvalidInput("Check the networks.", errors=(("networks", message),)) from None


def is_inside(address: str | None, networks: Collection[str]) -> bool:
    """Whether an address is in one of the networks; an IPv4 address that is written as an IPv6 one is the IPv4 one."""
    try:
        where = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    where = getattr(where, "ipv4_mapped", None) or where
    return any(where in ipaddress.ip_network(each) for each in networks)


def _find(db: DatabaseSession, key_id: str, tenant_id: str | None) -> ApiKey:
    row = db.get(ApiKey, key_id, with_for_update=True)
    if row is None or (tenant_id is not None and row.tenant_id != tenant_id):
        raise NotFound(f"There is no API key {key_id}.")
    return row


def _in_future(expires_at: datetime | None) -> datetime | None:
    if expires_at is not None and expires_at <= utc_now():
        raise InvalidInput("Check expires_at.", errors=(("expires_at", "must be in the future"),))
    return expires_at


def _tell_both(db: DatabaseSession, row: ApiKey, *, actor: str, maker_tenant_id: str) -> None:
    """Say aloud that somebody has made themselves a key to another tenant's sessions."""
    for tenant_id in (row.tenant_id, maker_tenant_id):
        record_event(
            db,
            tenant_id=tenant_id,
            actor=actor,
            action="api_key.may_open_sessions_of_another_tenant",
            subject=row.id,
            reason=f"made by tenant {maker_tenant_id} for tenant {row.tenant_id}",
        )
    _log.warning(
        "api_key.may_open_sessions_of_another_tenant", key_id=row.id, tenant_id=row.tenant_id, made_by=maker_tenant_id
    )


def _standing(row: Row[*tuple[Any, ...]] | None, *, address: str | None) -> StandingKey:
    if row is None:
        raise Unauthenticated(_NOT_VALID)
    caller = Caller(key_id=row.id, tenant_id=row.tenant_id, scopes=frozenset(row.scopes))
    found = StandingKey(caller, networks=tuple(row.networks), expires_at=row.expires_at)
    admit(found, address=address)
    return found


def _is_stale(last_used_at: datetime | None) -> bool:
    return last_used_at is None or last_used_at <= utc_now() - _USE_IS_NOTED_EVERY


def _note_use(db: DatabaseSession, key_id: str) -> None:
    stale = utc_now() - _USE_IS_NOTED_EVERY
    # Many requests of one key may get here at once: whoever finds the row locked leaves it to the other.
    free = select(ApiKey.id).where(ApiKey.id == key_id).with_for_update(skip_locked=True).scalar_subquery()
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
