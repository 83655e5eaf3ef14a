"""Secrets never travel in the open: a run's whole residue is searched for every secret that was in it."""

from __future__ import annotations

import base64
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
from sqlalchemy import text

from app.core import build_core
from app.logins.secrets import auth_key_place
from app.models import Login, TelegramSession
from app.settings import Settings
from app.telegram.string_sessions import read_string_session
from app.vault.places import session_place
from app.vault.sealing import Sealed
from tests.collector import Collector
from tests.stack.city import City

PASSWORD = "a-password-that-nobody-else-has-7719"


class Overheard:
    """Everything that passes through Redis while it is listened to: the broker's messages, events, hints, hot state."""

    def __init__(self, client: redis.Redis) -> None:
        self.commands: list[str] = []
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Overheard:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._client.ping()  # so that the listener wakes up once more
        self._thread.join(5)

    def _listen(self) -> None:
        with self._client.monitor() as monitor:  # type: ignore[no-untyped-call]  # redis-py left it out
            for command in monitor.listen():
                self.commands.append(str(command["command"]))
                if self._stop.is_set():
                    return


def spellings(secret: bytes) -> Iterator[bytes]:
    """The ways in which a secret could be written down."""
    yield secret
    yield base64.b64encode(secret).rstrip(b"=")
    yield base64.urlsafe_b64encode(secret).rstrip(b"=")
    yield secret.hex().encode()
    yield repr(secret)[2:-1].encode()


def dump_of_postgres(city: City) -> bytes:
    """Every row of every table, bytes as they are."""
    parts: list[bytes] = []
    with city.engine.connect() as connection:
        tables = connection.execute(
            text("SELECT quote_ident(table_name) FROM information_schema.tables WHERE table_schema = 'public'")
        ).scalars()
        for table in tables:
            for row in connection.exec_driver_sql(f"SELECT * FROM {table}"):
                parts += [bytes(value) if isinstance(value, memoryview) else str(value).encode() for value in row]
    return b"\n".join(parts)


def dump_of_redis(client: redis.Redis) -> bytes:
    """Every key with what Redis would write to disk for it."""
    return b"\n".join(bytes(key) + b"=" + bytes(client.dump(key) or b"") for key in client.scan_iter())


def flowers_tasks(city: City) -> bytes:
    """What Flower's API tells of tasks and workers."""
    environment = dict(
        line.partition("=")[::2] for line in (city.stack.folder / "env").read_text().splitlines() if "=" in line
    )
    name, _, password = environment["FLOWER_BASIC_AUTH"].strip("'\"").partition(":")
    flower = city.stack.description["flower"]
    assert requests.get(f"{flower}/api/tasks", timeout=10).status_code == 401
    answers = [
        requests.get(f"{flower}{path}", auth=(name, password), timeout=30).content
        for path in ("/api/tasks", "/api/workers?refresh=1", "/tasks", "/")
    ]
    assert b"latchkey.run_qr_login" in answers[0]
    return b"\n".join(answers)


@pytest.fixture
def residue(city: City, collector: Collector) -> dict[str, Any]:
    """Two logins, one with a password, and all that they left, before and after they ended."""
    account = city.telegram.create_account(password=PASSWORD)
    where: dict[str, Any] = {}
    with Overheard(redis.Redis.from_url(city.stack.description["redis_url"])) as overheard:
        started, unfinished = city.start(), city.start()
        url = city.wait_for_qr(started["id"])
        city.wait_for_qr(unfinished["id"])
        where["Redis, with QR codes on show"] = dump_of_redis(city.redis)
        where["PostgreSQL, with QR codes on show"] = dump_of_postgres(city)
        login_key = _auth_key(city, started["id"])
        city.telegram.scan(account["id"], url)
        city.wait_for(started["id"], "password_required")
        city.call("POST", f"/v1/logins/{started['id']}/password", json={"password": PASSWORD})
        where["Redis, with a password on its way"] = dump_of_redis(city.redis)
        session_id = city.wait_for(started["id"], "authorized")["session_id"]
        city.call("DELETE", f"/v1/logins/{unfinished['id']}")
        time.sleep(1.0)  # events go out in batches
        where["Flower"] = flowers_tasks(city)
    where["Redis' commands"] = "\n".join(overheard.commands).encode()
    where["Redis"] = dump_of_redis(city.redis)
    where["PostgreSQL"] = dump_of_postgres(city)
    for log in sorted((city.stack.folder / "logs").glob("*.log")):
        if not log.name.startswith(("sandbox", "postgres")):
            where[log.name] = log.read_bytes()
    where["traces"] = b"".join(collector.received)
    where["stack output"] = city.stack.output.encode()
    where["metrics"] = b"".join(
        requests.get(each, timeout=10).content
        for each in (f"{city.web}/metrics", *city.stack.description["worker_metrics"])
    )
    where["process arguments"] = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, check=True).stdout
    session_string = _session_string(city, session_id)
    token = url.removeprefix("tg://login?token=")
    return {
        "where": where,
        "secrets": {
            "session string": [session_string.encode()],
            "auth key": [*spellings(login_key), *spellings(read_string_session(session_string)[0])],
            "login token": [*spellings(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))), token.encode()],
            "password": [PASSWORD.encode(), base64.b64encode(PASSWORD.encode()).rstrip(b"=")],
            "client secret": [started["client_secret"].encode()],
            "API key": [city.stack.description["api_key"].encode()],
        },
    }


def _core(city: City) -> Any:
    environment = dict(
        line.partition("=")[::2] for line in (city.stack.folder / "env").read_text().splitlines() if "=" in line
    )
    settings = Settings(
        _env_file=None,
        database_url=city.stack.description["database_url"],
        redis_url=city.stack.description["redis_url"],
        telegram_api_id=1,
        telegram_api_hash="0",
        local_key_file=Path(environment["LOCAL_KEY_FILE"].strip("'\"")),
    )
    return build_core(settings, role="test", dispatch=lambda *_, **__: True)


def _auth_key(city: City, login_id: str) -> bytes:
    core = _core(city)
    with core.transaction() as db:
        login = db.get_one(Login, login_id)
    opened: bytes = core.keyring.open(auth_key_place(login), Sealed(login.key_id, login.auth_key_sealed))
    core.engine.dispose()
    return opened


def _session_string(city: City, session_id: str) -> str:
    core = _core(city)
    with core.transaction() as db:
        row = db.get_one(TelegramSession, session_id)
    opened: bytes = core.keyring.open(session_place(row.tenant_id, row.id), Sealed(row.key_id, row.session_sealed))
    core.engine.dispose()
    return opened.decode()


def test_no_secret_is_left_in_the_open(residue: dict[str, Any]) -> None:
    """Session string, auth keys, login token, password, client secret and API key: in none of a run's traces."""
    found = [
        f"{secret} in {place}"
        for secret, ways in residue["secrets"].items()
        for place, contents in residue["where"].items()
        if any(way in contents for way in ways)
    ]
    assert found == []
    assert all(contents for place, contents in residue["where"].items() if not place.endswith(".log")), "empty trace"


def test_the_search_would_find_a_secret(residue: dict[str, Any]) -> None:
    """What is known to be in the open is found, so that finding nothing means something."""
    where = residue["where"]
    assert b"latchkey.run_qr_login" in where["Redis' commands"]
    assert b"gAAAAA" in where["PostgreSQL"]
    assert b"gAAAAA" in where["Redis, with QR codes on show"]
    assert b"auth.exportLoginToken" in where["traces"]
    assert b"login.authorized" in where["worker-logins-1.log"] + where["worker-logins-2.log"]
