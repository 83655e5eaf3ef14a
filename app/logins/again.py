"""A login for somebody whose session died: what a ``session.invalid`` webhook points to."""

from __future__ import annotations

from app.core import Core
from app.logins.serving import NewLogin
from app.logins.start import start_login
from app.models import TelegramSession
from app.sessions.verdicts import LoginLink


def log_in_again(core: Core, row: TelegramSession) -> LoginLink:
    """Start a re-login of the session, or find the one that is under way. Carries the session's metadata on.

    Raises:
        Unavailable: nothing could be stored.
    """
    started = start_login(
        core,
        tenant_id=row.tenant_id,
        request=NewLogin(session_id=row.id, metadata=row.client_metadata, automatic=True),
    )
    login_id = started.login.id
    return LoginLink(login_id=login_id, url=f"{core.settings.public_url.rstrip('/')}/login/{login_id}")
