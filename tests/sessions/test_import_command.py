"""``python -m app sessions import``: a string session that is typed or piped, or a session file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from app.cli import cli
from app.core import Core
from app.models import TelegramSession
from app.settings import DataCentre
from app.telegram.session_formats import write_session
from app.telegram.string_sessions import read_string_session
from app.vault.places import session_place
from app.vault.sealing import Sealed
from tests.sessions.imports import string_at

KEY = bytes(range(256))
TELETHON = "CREATE TABLE sessions (dc_id INTEGER, server_address TEXT, port INTEGER, auth_key BLOB, takeout_id INTEGER)"
PYROGRAM = (
    "CREATE TABLE sessions (dc_id INTEGER, api_id INTEGER, test_mode INTEGER, auth_key BLOB, date INTEGER,"
    " user_id INTEGER, is_bot INTEGER)"
)
KURIGRAM = PYROGRAM.replace("dc_id INTEGER,", "dc_id INTEGER, server_address TEXT, port INTEGER,")

Run = Callable[..., Result]


@pytest.fixture
def run(core: Core, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command for Alice, in the environment of the test's stores."""
    settings = core.settings
    for name, value in {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "TELEGRAM_API_ID": str(settings.telegram_api_id),
        "TELEGRAM_API_HASH": settings.telegram_api_hash.get_secret_value(),
        "LOCAL_KEY_FILE": str(settings.local_key_file),
    }.items():
        monkeypatch.setenv(name, value)

    def run(*words: str, typed: str = "", tenant: str = "alice") -> Result:
        return CliRunner().invoke(cli, ["sessions", "import", "--tenant", tenant, *words], input=typed)

    return run


def make_file(folder: Path, schema: str, *values: object) -> Path:
    """A session file with this row."""
    path = folder / "some name.session"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(schema)
        db.execute(f"INSERT INTO sessions VALUES ({', '.join('?' for _ in values)})", values)
    return path


def imported(core: Core, result: Result) -> tuple[TelegramSession, bytes, DataCentre]:
    """The row that a command made, and what is sealed in it."""
    assert result.exit_code == 0, result.output
    with core.transaction() as db:
        row = db.scalars(select(TelegramSession)).one()
    assert row.id in result.output
    assert row.key_id is not None
    assert row.session_sealed is not None
    sealed = core.keyring.open(session_place("alice", row.id), Sealed(row.key_id, row.session_sealed))
    return row, *read_string_session(sealed.decode())


def test_a_piped_string_session_is_imported(core: Core, run: Run) -> None:
    """In any form, sent to be validated at once, and never shown."""
    string = write_session(
        "mtcute",
        auth_key=KEY,
        data_centre=DataCentre(4, "149.154.167.91", 443),
        api_id=1,
        telegram_user_id=None,
    )
    result = run("--telegram-user-id", "42", typed=f"{string}\n")
    row, key, data_centre = imported(core, result)
    assert (row.status, row.telegram_user_id, key, data_centre.dc_id) == ("quarantined", 42, KEY, 4)
    assert string[:40] not in result.output
    assert core.redis.llen("background") == 1


def test_a_format_that_is_said_must_fit(run: Run) -> None:
    """One line that says which one it is, without what was typed."""
    string = string_at("149.154.167.51")
    result = run("--format", "gramjs", typed=string)
    assert result.exit_code == 1
    assert "it is one of Telethon" in result.output
    assert string[:40] not in result.output


@pytest.mark.parametrize(
    ("schema", "values", "data_centre"),
    [
        (TELETHON, (4, "149.154.167.91", 80, KEY, None), DataCentre(4, "149.154.167.91", 80)),
        (PYROGRAM, (5, 12345, 0, KEY, 0, 42, 0), DataCentre(5, "91.108.56.130", 443)),
        (PYROGRAM, (2, 12345, 1, KEY, 0, 42, 0), DataCentre(2, "149.154.167.40", 443)),
        (KURIGRAM, (4, "149.154.167.92", 443, 12345, 0, KEY, 0, 42, 0), DataCentre(4, "149.154.167.91", 443)),
    ],
)
def test_a_session_file_is_imported(
    core: Core, run: Run, tmp_path: Path, schema: str, values: tuple[object, ...], data_centre: DataCentre
) -> None:
    """Telethon's has an address; what Pyrogram has is a number, which stands for Telegram's address."""
    path = make_file(tmp_path, schema, *values)
    before = path.read_bytes()
    _, key, found = imported(core, run("--file", str(path)))
    assert (key, found, path.read_bytes()) == (KEY, data_centre, before)


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        (TELETHON, (2, "149.154.167.51", 443, b"", None)),
        (TELETHON, (2, "149.154.167.51", 443, None, None)),
        (TELETHON, (2, None, None, KEY, None)),
        (PYROGRAM, (9, 12345, 0, KEY, 0, 42, 0)),
        (PYROGRAM, (None, 12345, 0, KEY, 0, 42, 0)),
        (TELETHON, (2, "10.0.0.7", 443, KEY, None)),
    ],
)
def test_a_file_without_a_session_is_refused(run: Run, tmp_path: Path, schema: str, values: tuple[object, ...]) -> None:
    """One line, exit code 1."""
    result = run("--file", str(make_file(tmp_path, schema, *values)))
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_another_file_is_refused(run: Run, tmp_path: Path) -> None:
    """No database, another database, no file."""
    other = tmp_path / "other.session"
    other.write_text("hello")
    assert run("--file", str(other)).exit_code == 1
    assert run("--file", str(make_file(tmp_path, "CREATE TABLE sessions (name TEXT)", "Alice"))).exit_code == 1
    assert run("--file", str(tmp_path / "missing.session")).exit_code == 2


def test_a_tenant_that_is_none_is_refused(run: Run) -> None:
    """Before anything is typed; and --format says nothing of a file."""
    assert "no tenant" in run(tenant="nobody", typed="x").output.lower()
    assert run("--format", "gramjs", "--file", __file__).exit_code == 2
