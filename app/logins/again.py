"""A login for somebody whose session died: what ``login_url`` in ``session.invalid`` leads to.

A webhook may be read hours later, and a login lives ten minutes. So the link is a row of its own, and the login begins when the
page of the link first asks for it. A link can be opened once, for as long as its event is kept (``WEBHOOK_RETENTION_DAYS``).
"""

from __future__ import annotations

import hmac
from datetime import timedelta

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as DatabaseSession

from app.clock import utc_now
from app.core import Core
from app.ids import hash_secret, new_id, new_secret
from app.logins.secrets import client_secret_place
from app.logins.store import end_from_outside
from app.models import LIVE_LOGIN_STATUSES, Login, LoginLink, TelegramSession, Tenant
from app.sessions.verdicts import LoginLink as Link


def log_in_again(core: Core, row: TelegramSession) -> Link:
    """Make a link that begins a re-login of the session. Carries its metadata on.

    Raises:
        Unavailable: nothing could be stored.
    """
    login_id, secret = new_id("lgn"), new_secret("ls")
    sealed = core.keyring.seal(client_secret_place(row.tenant_id, login_id), secret.encode())
    with core.transaction() as db:
        db.add(
            LoginLink(
                id=login_id,
                tenant_id=row.tenant_id,
                session_id=row.id,
                telegram_user_id=row.telegram_user_id,
                client_metadata=row.client_metadata,
                client_secret_hash=hash_secret(secret),
                key_id=sealed.key_id,
                client_secret_sealed=sealed.ciphertext,
            )
        )
    return Link(login_id=login_id, url=f"{core.settings.public_url.rstrip('/')}/login/{login_id}")


def open_link(core: Core, *, login_id: str, client_secret: str) -> Login | None:
    """Begin the login of a link, for whoever has its secret; a worker has it within seconds, by the sweep.

    It takes the place of a login of the same user that is under way. Two who open at once get the same login.

    Returns:
        The login, or None: there is no such link, the secret is another's, or there is nothing to log in again for.
    """
    with core.transaction() as db:
        link = db.scalar(select(LoginLink).where(LoginLink.id == login_id).with_for_update())
        if link is None or not hmac.compare_digest(link.client_secret_hash, hash_secret(client_secret)):
            return None
        login = db.get(Login, login_id)
        if login is not None:
            return login
        session, tenant = db.get(TelegramSession, link.session_id), db.get_one(Tenant, link.tenant_id)
        if session is None or session.status in ("revoking", "revoked") or tenant.disabled_at is not None:
            return None
        _make_way(db, link, session)
        now = utc_now()
        db.execute(
            insert(Login).values(
                id=link.id,
                tenant_id=link.tenant_id,
                telegram_user_id=link.telegram_user_id,
                end_user_id=session.end_user_id,
                relogin_session_id=session.id,
                method="qr",
                status="queued",
                client_metadata=link.client_metadata,
                client_secret_hash=link.client_secret_hash,
                client_secret_sealed=link.client_secret_sealed,
                key_id=link.key_id,
                created_at=now,
                updated_at=now,
                expires_at=now + timedelta(seconds=core.settings.qr_ttl_seconds),
                next_dispatch_at=now,
            )
        )
        login = db.get_one(Login, login_id)
    core.metrics.auth_qr_start.labels(tenant_id=login.tenant_id).inc()
    return login


def _make_way(db: DatabaseSession, link: LoginLink, session: TelegramSession) -> None:
    """Cancel what is under way for the same person: whoever opens the link looks at this one."""
    same = []
    if link.telegram_user_id is not None:
        same.append(Login.telegram_user_id == link.telegram_user_id)
    if session.end_user_id is not None:
        same.append(Login.end_user_id == session.end_user_id)
    if not same:
        return
    in_the_way = select(Login.id).where(
        Login.tenant_id == link.tenant_id, Login.status.in_(LIVE_LOGIN_STATUSES), or_(*same)
    )
    for login_id in db.scalars(in_the_way).all():
        end_from_outside(db, login_id=login_id, status="cancelled")
