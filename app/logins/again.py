"""A login for somebody whose session died: what a ``session.invalid`` webhook points to."""

from __future__ import annotations

from app.core import Core
from app.logins.start import NewLogin, start_login
from app.models import TelegramSession
from app.sessions.verdicts import LoginLink


def log_in_again(core: Core, row: TelegramSession) -> LoginLink:
    """Start a login for the session's user, or find the one that is under way. Carries the session's metadata on.

    ``replace``, because the session that died is not marked yet and would serve.

    Raises:
        Unavailable: nothing could be stored.
    """
    started = start_login(
        core,
        tenant_id=row.tenant_id,
        request=NewLogin(telegram_user_id=row.telegram_user_id, replace=True, metadata=row.client_metadata),
    )
    login_id = started.login.id
    return LoginLink(login_id=login_id, url=f"{core.settings.public_url.rstrip('/')}/login/{login_id}")
