"""The proxy of a session: the one it was made through, for its life, like its device names, until changed by hand."""

from __future__ import annotations

from sqlalchemy.orm import Session as DatabaseSession

from app.core import Core
from app.errors import Conflict, InvalidInput, NotFound
from app.identities import open_overrides
from app.models import TelegramSession, Tenant
from app.setting_values import split_proxy
from app.telegram.identity import ApiIdentity, identity_for
from app.vault.audit import record_event
from app.vault.places import session_proxy_place
from app.vault.sealing import Sealed
from app.vault.transact import transact


def session_identity(core: Core, tenant: Tenant, row: TelegramSession) -> ApiIdentity:
    """Who a session is to Telegram, and the way there: what it was made with, and the present settings for the rest.

    Raises:
        SealBroken, KeyUnavailable, Transient: its proxy does not open.
    """
    if (proxied := row.device.get("proxied")) is None:  # a session from before this was kept goes by the settings
        return identity_for(core.settings, open_overrides(core.keyring, tenant) | row.device)
    proxy = _open_proxy(core, row) if proxied else None
    return identity_for(core.settings, tenant.telegram | row.device | {"proxy": proxy})


def set_session_proxy(core: Core, *, session_id: str, proxy: str | None, actor: str) -> None:
    """Have a session use another proxy from now on.

    Args:
        proxy: ``socks5://user:password@host:1080`` and the like; None: none.
        actor: who does it, for the audit.

    Raises:
        InvalidInput: it is not such a URL.
        NotFound: there is no such session.
        Conflict: ``session_not_active``: it was erased.
    """
    if proxy is not None:
        try:
            split_proxy(proxy)
        except ValueError as exc:
            raise InvalidInput("Check the proxy.", errors=(("proxy", str(exc)),)) from None

    def write(db: DatabaseSession) -> None:
        row = db.get(TelegramSession, session_id, with_for_update=True)
        if row is None:
            raise NotFound(f"There is no session {session_id}.")
        if row.key_id is None:
            raise Conflict("This session was erased.", code="session_not_active")
        place = session_proxy_place(row.tenant_id, row.id)
        row.proxy_sealed = core.keyring.seal_under_key(row.key_id, place, proxy.encode()) if proxy else None
        row.device = row.device | {"proxied": proxy is not None}
        row.version += 1
        record_event(db, tenant_id=row.tenant_id, actor=actor, action="session.proxy_changed", subject=session_id)

    transact(core.transaction, core.keyring, write)


def _open_proxy(core: Core, row: TelegramSession) -> str:
    assert row.key_id is not None
    assert row.proxy_sealed is not None
    place = session_proxy_place(row.tenant_id, row.id)
    return core.keyring.open(place, Sealed(row.key_id, row.proxy_sealed)).decode()
