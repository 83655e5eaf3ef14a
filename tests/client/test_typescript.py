"""The TypeScript client: generated from the reference as it is, compiled, and tested by Node against the web application."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import select

from app.clock import utc_now
from app.core import Core
from app.models import Login
from app.tenants.keys import SCOPES, create_api_key
from app.webhooks.delivery import sign
from tests.client.served import ServedWeb
from tests.node import TYPESCRIPT_CLIENT, build_client, install_packages, run
from tests.sessions.rows import give_session
from tests.web.playing_worker import PlayingWorker

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"type":"login.authorized","timestamp":"2026-01-02T03:04:05Z","data":{"login_id":"lgn_1","name":"Зоя"}}'


class Player(threading.Thread):
    """Plays the worker of logins whose metadata ask for it: ``{"play": "qr"}`` or ``{"play": "typed"}``."""

    def __init__(self, core: Core) -> None:
        super().__init__(daemon=True)
        self.typed: list[str] = []
        self._core = core
        self._over = threading.Event()

    def run(self) -> None:
        """Go on until stopped."""
        while not self._over.wait(0.05):
            with self._core.transaction() as db:
                queued = db.scalars(select(Login).where(Login.status == "queued")).all()
                plays = [(login.id, login.client_metadata.get("play")) for login in queued]
            for login_id, play in plays:
                if play == "qr":
                    PlayingWorker(self._core, login_id).publish_qr()
                if play == "typed":
                    self._play_typed(login_id)

    def stop(self) -> None:
        """Play no more."""
        self._over.set()
        self.join(20)

    def _play_typed(self, login_id: str) -> None:
        worker = PlayingWorker(self._core, login_id)
        worker.ask_code()
        self.typed.append(worker.take_answer("code"))
        worker.ask_password(attempts_left=5)
        self.typed.append(worker.take_answer("password"))
        worker.advance(password_attempts_left=4)
        self.typed.append(worker.take_answer("password"))
        worker.finish("failed", reason="password_attempts_exhausted")


@contextmanager
def playing(core: Core) -> Iterator[Player]:
    """A player for a block."""
    player = Player(core)
    player.start()
    yield player
    player.stop()


def test_its_types_are_those_of_the_reference(tmp_path: Path) -> None:
    """Otherwise: make reference, where npm is."""
    install_packages(TYPESCRIPT_CLIENT)
    fresh = tmp_path / "schema.ts"
    package = json.loads((TYPESCRIPT_CLIENT / "package.json").read_text())
    command = package["scripts"]["schema"].replace("src/schema.ts", str(fresh)).split()
    done = run(["npx", "--no", *command], TYPESCRIPT_CLIENT)
    assert done.returncode == 0, done.stderr
    assert fresh.read_text() == (TYPESCRIPT_CLIENT / "src" / "schema.ts").read_text()


def test_the_lock_file_names_no_index() -> None:
    """It holds versions and checksums; where packages come from is the machine's own business."""
    lock = json.loads((TYPESCRIPT_CLIENT / "package-lock.json").read_text())
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
    assert "dependencies" not in lock["packages"][""]


def test_its_own_tests_pass(core: Core) -> None:
    """Logins, sessions, leases and webhooks, against a running Latchkey."""
    build_client()
    key = create_api_key(core.transaction, actor="test", tenant_id="alice", scopes=SCOPES).key
    webhook = {"secret": SECRET, "body": BODY, "headers": sign([SECRET], message_id="msg_1", body=BODY, at=utc_now())}
    with ServedWeb(core.settings) as web, playing(core) as player:
        done = run(
            ["npm", "run", "--silent", "test"],
            TYPESCRIPT_CLIENT,
            LATCHKEY_URL=web.url,
            LATCHKEY_API_KEY=key,
            SESSION_IDS=json.dumps([give_session(core)[0] for _ in range(3)]),
            WEBHOOK=json.dumps(webhook),
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# pass 21" in done.stdout, done.stdout
    assert player.typed == ["12345", "wrong", "right"]
