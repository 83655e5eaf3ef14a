"""Session files that Telethon and Kurigram have written, imported at the command line, on the sandbox."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pyrogram.storage.sqlite_storage import SQLiteStorage
from sqlalchemy import select
from telethon.sessions import SQLiteSession, StringSession

from app.cli import cli
from app.models import TelegramSession
from tests.sessions.libraries.conftest import GetLibrary
from tests.sessions.stage import Stage

new_storage: Any = SQLiteStorage  # its methods have no types


def telethon_file(path: Path, string: str) -> None:
    """Have Telethon keep a session in a file."""
    stored, kept = StringSession(string), SQLiteSession(str(path))
    kept.set_dc(stored.dc_id, stored.server_address, stored.port)
    kept.auth_key = stored.auth_key
    kept.save()
    kept.close()


def kurigram_file(path: Path, string: str) -> None:
    """Have Kurigram keep a session in a file, with Telegram's address as it does."""

    async def keep() -> None:
        stored = new_storage("stored", path.parent, session_string=string, in_memory=True)
        kept = new_storage(path.stem, path.parent)
        await stored.open()
        await kept.open()
        for name in ("dc_id", "api_id", "test_mode", "auth_key", "user_id", "is_bot"):
            await getattr(kept, name)(await getattr(stored, name)())
        await kept.server_address("149.154.167.51")
        await kept.port(443)
        await kept.save()
        await kept.close()
        await stored.close()

    asyncio.run(keep())


@pytest.mark.parametrize("session_format", ["telethon", "pyrogram"])
def test_a_librarys_session_file_is_imported(
    stage: Stage, get_library: GetLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session_format: Any
) -> None:
    """Active as its account's, once Telegram has answered; no two used it at once."""
    settings, account = stage.settings, stage.telegram.create_account()
    path = tmp_path / "alice.session"
    write = telethon_file if session_format == "telethon" else kurigram_file
    write(path, get_library(session_format).log_in(account))

    monkeypatch.setenv("DATABASE_URL", settings.database_url)
    monkeypatch.setenv("REDIS_URL", settings.redis_url)
    monkeypatch.setenv("LOCAL_KEY_FILE", str(settings.local_key_file))
    monkeypatch.setenv("TELEGRAM_API_ID", str(settings.telegram_api_id))
    monkeypatch.setenv("TELEGRAM_API_HASH", settings.telegram_api_hash.get_secret_value())
    monkeypatch.setenv("TELEGRAM_DC_ADDRESS", str(settings.telegram_dc_address))
    result = CliRunner().invoke(cli, ["sessions", "import", "--tenant", "alice", "--file", str(path)])
    assert result.exit_code == 0, result.output

    with stage.core.transaction() as db:
        session_id = db.scalars(select(TelegramSession.id)).one()
    assert stage.validate(session_id) == {"ok": 1}
    assert (stage.row(session_id).status, stage.row(session_id).telegram_user_id) == ("active", account["id"])
    assert stage.violations().get("parallel_auth_key") is None
