"""A real web server in a process of its own: gunicorn on greenlets, as it is deployed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from app.core import Core
from app.settings import Settings
from devstack.ports import HOST
from devstack.probes import answers_ok
from devstack.programs import Program

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Live:
    """A running server, what it stands on, and Alice's key to it."""

    url: str
    core: Core
    log: Path
    headers: Mapping[str, str]

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Call as Alice."""
        return requests.request(method, self.url + path, headers=self.headers, timeout=40, **options)

    def start_login(self, **fields: object) -> dict[str, Any]:
        """POST a login, for anybody unless said otherwise."""
        answer = self.call("POST", "/v1/logins", json=fields)
        assert answer.status_code == 202, answer.text
        login: dict[str, Any] = answer.json()
        return login

    @contextmanager
    def events(self, login_id: str, **headers: str) -> Iterator[Iterator[Event]]:
        """Open a login's event stream."""
        with requests.get(
            f"{self.url}/v1/logins/{login_id}/events",
            headers={**self.headers, **headers},
            stream=True,
            timeout=20,
        ) as answer:
            assert answer.status_code == 200, answer.text
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            yield parse_events(answer.iter_lines(chunk_size=1, decode_unicode=True))

    def metric(self, line_start: str) -> float:
        """The sum of the metrics whose lines start like this."""
        lines = requests.get(self.url + "/metrics", timeout=10).text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(line_start))


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    kind: str
    id: str
    login: dict[str, Any]


def parse_events(lines: Iterator[str]) -> Iterator[Event]:
    """Read events off a stream's lines; comments are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "data" in fields:
            yield Event(kind=fields["event"], id=fields["id"], login=json.loads(fields["data"]))
        fields = {}


def server_program(
    settings: Settings, *, port: int, folder: Path, environment: Mapping[str, str] | None = None
) -> Program:
    """The server's command line, as ``make up`` runs it."""
    assert settings.local_key_file is not None
    return Program(
        name="web",
        command=(sys.executable, "-m", "gunicorn", "-c", str(ROOT / "deploy" / "gunicorn.py"), "web:create_app()"),
        log=folder / "web.log",
        folder=ROOT,
        environment={
            **os.environ,
            "HOST": HOST,
            "PORT": str(port),
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "TELEGRAM_API_ID": str(settings.telegram_api_id),
            "TELEGRAM_API_HASH": settings.telegram_api_hash.get_secret_value(),
            "CELERY_BROKER_URL": "",
            "KEY_PROVIDER": "local",
            "LOCAL_KEY_FILE": str(settings.local_key_file),
            "LOGIN_RATE_PER_MINUTE": "100000",
            "READ_RATE_PER_MINUTE": "100000",
            "OPEN_RATE_PER_MINUTE": "100000",
            "CODES_PER_PHONE_PER_HOUR": "100000",
            "MAX_WAITING_LOGINS": "100000",
            "PUBLIC_URL": f"http://{HOST}:{port}",
            "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"),
            **(environment or {}),
        },
        ready=lambda: answers_ok(f"http://{HOST}:{port}/healthz"),
    )
