"""Rows of sessions for tests that need no Telegram: real string sessions of auth keys that no server knows."""

from __future__ import annotations

import itertools
import os
from typing import Any

from sqlalchemy import update

from app.core import Core
from app.models import TelegramSession
from app.sessions.claim import Account, claim_session
from app.settings import DataCentre
from app.telegram.identity import identity_for
from app.telegram.string_sessions import make_string_session

_users = itertools.count(9_000_001)


def give_session(core: Core, *, tenant: str = "alice", **columns: Any) -> tuple[str, str]:
    """Give a tenant a session of a user that nobody else is; its id and its string session.

    Args:
        columns: to set afterwards.
    """
    string = make_string_session(auth_key=os.urandom(256), data_centre=DataCentre(2, "127.0.0.1", 4430))
    core.keyring.fetch(None, why="to seal a session")
    with core.transaction() as db:
        session_id = claim_session(
            db,
            core.keyring,
            tenant_id=tenant,
            account=Account(telegram_user_id=next(_users), username=None, first_name="Alice", phone=None),
            string_session=string,
            dc_id=2,
            identity=identity_for(core.settings, {}),
            metadata={},
            validation_interval_seconds=core.settings.validation_interval_seconds,
        ).session_id
        if columns:
            db.execute(update(TelegramSession).where(TelegramSession.id == session_id).values(**columns))
    return session_id, string
