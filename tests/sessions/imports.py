"""What tests of imports take in hand: bringing a string session, and running what that has sent."""

from __future__ import annotations

import os
from dataclasses import replace

from app.core import Core
from app.models import TelegramSession
from app.sessions.importing import import_session
from app.sessions.planning import VALIDATE_BATCH_TASK
from app.settings import DataCentre
from app.telegram.session_formats import SessionFormat
from app.telegram.string_sessions import make_string_session
from tests.sessions.stage import Stage


def bring(
    stage: Stage,
    string: str,
    *,
    tenant: str = "alice",
    telegram_user_id: int | None = None,
    session_format: SessionFormat | None = None,
) -> TelegramSession:
    """POST a session."""
    return import_session(
        stage.core,
        tenant_id=tenant,
        session_string=string,
        telegram_user_id=telegram_user_id,
        actor="api-key:key_alice",
        session_format=session_format,
    )


def run_import(stage: Stage) -> dict[str, int]:
    """Run what the import has sent."""
    (task, ticket, session_id) = stage.sent.tasks.pop()
    assert task == VALIDATE_BATCH_TASK
    return dict(stage.run_batch(ticket, [session_id]))


def string_at(host: str, port: int = 443, dc_id: int = 2) -> str:
    """A string session of a key that nobody has, at an address."""
    return make_string_session(auth_key=os.urandom(256), data_centre=DataCentre(dc_id, host, port))


def at_server(stage: Stage, host: str) -> Core:
    """The stage's installation, with a server of its own at this host."""
    return replace(stage.core, settings=stage.settings.model_copy(update={"telegram_dc_address": f"2:{host}:4430"}))
