"""Who a tenant is to Telegram: what it overrides of the installation's settings, sealed where it is secret.

``tenants.telegram`` holds what everybody may see (``OPEN_OVERRIDES``); api_hash and proxy are sealed beside it. A session and a
login's auth key keep what they were made with: see ``ApiIdentity.kept``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session as DatabaseSession

from app.database import Transaction
from app.models import Tenant
from app.settings import Settings
from app.telegram.identity import ApiIdentity, identity_for
from app.vault.keyring import KeyRing
from app.vault.places import TENANTS
from app.vault.sealing import Place, Sealed
from app.vault.transact import transact

OPEN_OVERRIDES = ("api_id", "device_model", "system_version", "app_version")
SECRET_OVERRIDES = {"api_hash": "api_hash_sealed", "proxy": "proxy_sealed"}
"""The secret ones, each with its column."""


def tenant_identity(settings: Settings, keyring: KeyRing, tenant: Tenant) -> ApiIdentity:
    """Who a tenant is to Telegram now.

    Raises:
        SealBroken, KeyUnavailable, Transient: what is sealed of it does not open.
        KeyNotAtHand: inside a transaction; see ``app.vault.transact``.
    """
    return identity_for(settings, open_overrides(keyring, tenant))


def open_overrides(keyring: KeyRing, tenant: Tenant) -> dict[str, Any]:
    """What a tenant overrides, as ``identity_for`` takes it, the secrets opened.

    Raises:
        As ``tenant_identity``.
    """
    opened = dict(tenant.telegram)
    for name, column in SECRET_OVERRIDES.items():
        ciphertext = getattr(tenant, column)
        if ciphertext is not None:
            assert tenant.key_id is not None
            opened[name] = keyring.open(_place(tenant.id, column), Sealed(tenant.key_id, ciphertext)).decode()
    return opened


def place_of_override(tenant_id: str, name: str) -> Place:
    """Where a secret override (``api_hash``, ``proxy``) of a tenant is sealed."""
    return _place(tenant_id, SECRET_OVERRIDES[name])


def write_overrides(keyring: KeyRing, tenant: Tenant, changes: Mapping[str, Any]) -> None:
    """Write overrides into a tenant's row, which is locked; None takes one back, what is not named stays.

    Args:
        changes: any of ``OPEN_OVERRIDES`` and ``SECRET_OVERRIDES``, already checked.

    Raises:
        As ``tenant_identity``.
    """
    telegram = dict(tenant.telegram)
    for name, value in changes.items():
        telegram.pop(name, None)
        if name in SECRET_OVERRIDES:
            _write_secret(keyring, tenant, SECRET_OVERRIDES[name], value)
        elif value is not None:
            telegram[name] = value
    tenant.telegram = telegram
    if all(getattr(tenant, column) is None for column in SECRET_OVERRIDES.values()):
        tenant.key_id = None


def seal_what_is_open(transaction: Transaction, keyring: KeyRing) -> int:
    """Seal the secrets that stand in ``tenants.telegram`` in the open, as they did before there were columns for them.

    May be repeated; the rotation does it each time.

    Returns:
        How many tenants had any.

    Raises:
        SealBroken, KeyUnavailable, Transient: a key is not to be had.
    """
    in_the_open = or_(*(Tenant.telegram.has_key(name) for name in SECRET_OVERRIDES))

    def work(db: DatabaseSession) -> int:
        found = db.scalars(select(Tenant).where(in_the_open).with_for_update(key_share=True)).all()
        for tenant in found:
            secrets = {name: tenant.telegram[name] for name in SECRET_OVERRIDES if name in tenant.telegram}
            write_overrides(keyring, tenant, secrets)
        return len(found)

    return transact(transaction, keyring, work)


def _write_secret(keyring: KeyRing, tenant: Tenant, column: str, value: str | None) -> None:
    if value is None:
        setattr(tenant, column, None)
        return
    if tenant.key_id is None:
        tenant.key_id = keyring.active_key_id()
    setattr(tenant, column, keyring.seal_under_key(tenant.key_id, _place(tenant.id, column), value.encode()))


def _place(tenant_id: str, column: str) -> Place:
    return Place(TENANTS.purposes[column], tenant_id, tenant_id)
