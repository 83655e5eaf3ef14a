"""Session files of Telethon and of Pyrogram (Kurigram): SQLite databases whose table ``sessions`` has one row."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from app.settings import DataCentre
from app.telegram.data_centres import NumberedDataCentre, is_telegrams
from app.telegram.session_formats import ReadSession
from app.telegram.string_sessions import AUTH_KEY_BYTES

_LOCK_SECONDS = 5.0


def read_session_file(path: Path) -> ReadSession:
    """Read whose form it has, its auth key (256 bytes) and its data centre. Nothing is written to it.

    Raises:
        ValueError: it is no session file, nobody is logged in with it, or its library is writing to it.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_LOCK_SECONDS)) as db:
            db.row_factory = sqlite3.Row
            rows = [dict(row) for row in db.execute("SELECT * FROM sessions")]
    except sqlite3.Error as exc:
        raise ValueError(f"is no session file of Telethon or Pyrogram ({exc})") from exc
    usable = [row for row in rows if _has_key(row)]
    if len(usable) != 1:
        raise ValueError("is a session file that nobody is logged in with")
    return _read_row(usable[0])


def _has_key(row: dict[str, Any]) -> bool:
    key, dc_id = row.get("auth_key"), row.get("dc_id")
    return isinstance(key, bytes) and len(key) == AUTH_KEY_BYTES and any(key) and isinstance(dc_id, int)


def _read_row(row: dict[str, Any]) -> ReadSession:
    host, port, dc_id = row.get("server_address"), row.get("port"), row["dc_id"]
    by_pyrogram = "is_bot" in row
    # Pyrogram's address is left alone when it is Telegram's: it is written down even when another server was asked.
    if host and port and not (by_pyrogram and is_telegrams(host)):
        return ReadSession("pyrogram" if by_pyrogram else "telethon", row["auth_key"], DataCentre(dc_id, host, port))
    if not by_pyrogram:
        raise ValueError("is a session file without an address")
    return ReadSession("pyrogram", row["auth_key"], NumberedDataCentre(dc_id, test_mode=bool(row.get("test_mode"))))
