"""Two versions side by side on one database and one Redis: the version before the newest migration, from git, and this one."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution
from io import BytesIO
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
import requests

from devstack.configuration import neutral_environment
from devstack.files import kept_secret
from devstack.ports import HOST, free_port
from devstack.programs import Program, running
from devstack.roles import ROOT, Place, background_worker, beat, login_worker, web
from sandbox.driver import SandboxDriver
from sandbox.process import RunningSandbox
from tests.builders import API_HASH, API_ID
from tests.waiting import wait_until

_KEY = "bGF0Y2hrZXktbGF0Y2hrZXktbGF0Y2hrZXktbGF0Y2g="


@dataclass(frozen=True)
class Version:
    """A tree of ours that runs."""

    tree: Path
    place: Place
    url: str
    api_key: str

    def run(self, *words: str, **settings: str) -> str:
        """Run the command line of this version to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "app", *words],
            cwd=self.place.folder,
            env={**self.place.environment, **settings},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def program(self, program: Program) -> Program:
        """A role of the stack, with this version's own files."""
        return replace(
            program,
            command=tuple(word.replace(str(ROOT / "deploy"), str(self.tree / "deploy")) for word in program.command),
        )

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Call this version's web."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        return requests.request(method, self.url + path, headers=headers, timeout=20, **options)

    def start(self) -> str:
        """POST a login; its id."""
        answer = self.call("POST", "/v1/logins", json={})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def login(self, login_id: str) -> dict[str, Any]:
        """GET a login."""
        found: dict[str, Any] = self.call("GET", f"/v1/logins/{login_id}").json()
        return found

    def wait_for(self, login_id: str, status: str) -> dict[str, Any]:
        """Wait until a login has a status (and, while it waits, a QR code)."""

        def look() -> dict[str, Any]:
            login = self.login(login_id)
            return login if login["status"] == status and (status != "waiting_for_scan" or login["qr"]) else {}

        return wait_until(look, within_seconds=40, every_seconds=0.1)


def migrations_of(commit: str) -> list[str]:
    """The files of a commit's migrations, in their order."""
    asked = ("git", "ls-tree", "--name-only", f"{commit}:migrations/versions")
    listed = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return sorted(name for name in listed.split() if name[:4].isdigit())


def commit_before(newest: str) -> str | None:
    """The last commit of this branch that lacks a migration, and whose migrations are one chain; None where there is none."""
    log = ("git", "log", "--first-parent", "-m", "--format=%H^", "--", "migrations/versions")
    for commit in subprocess.run(log, cwd=ROOT, capture_output=True, text=True, check=False).stdout.split():
        names = migrations_of(commit)
        numbers = [int(name[:4]) for name in names]
        if names and newest not in names and numbers == list(range(1, len(numbers) + 1)):
            return commit
    return None


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree before the newest migration; skips where git's history does not reach back to it."""
    newest = sorted((ROOT / "migrations" / "versions").glob("[0-9]*.py"))[-1].name
    commit = commit_before(newest)
    if commit is None:
        pytest.skip(f"git's history does not reach back to before {newest}")
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True)
    tree = tmp_path_factory.mktemp("before")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(tree, filter="data")
    return tree


@pytest.fixture(scope="module")
def requirements_before(before: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What that tree needs and this one does not any more, installed in a folder; skips where it cannot be had."""
    wanted = re.findall(r"^([\w.-]+)==(\S+)", (before / "requirements.txt").read_text(), re.MULTILINE)
    missing = [f"{name}=={version}" for name, version in wanted if not is_installed(name)]
    folder = tmp_path_factory.mktemp("requirements")
    if missing:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *missing]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"what the version before needs cannot be installed: {done.stderr[-300:]}")
    return folder


def is_installed(name: str) -> bool:
    """Whether a package is here, in whatever version."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


@dataclass(frozen=True)
class Upgrade:
    """Both versions, and what they share."""

    old: Version
    new: Version
    telegram: SandboxDriver
    stack: ExitStack

    def begin(self, version: Version, program: Program) -> Popen[bytes]:
        """Run a role of a version until the test is over."""
        return self.stack.enter_context(running(version.program(program)))

    def worker(self, version: Version, number: int) -> Popen[bytes]:
        """Run a login worker of a version."""
        return self.begin(version, login_worker(version.place, number=number, metrics_port=free_port()))

    def scan(self, login: dict[str, Any]) -> None:
        """Scan a login."""
        account = self.telegram.create_account()
        self.telegram.scan(account["id"], login["qr"]["url"])


@pytest.fixture
def upgrade(
    before: Path,
    requirements_before: Path,
    tmp_path: Path,
    empty_database: Callable[[], str],
    redis_url: str,
    sandboxes: Callable[..., RunningSandbox],
) -> Iterator[Upgrade]:
    """The old version's web runs on a database of its own schema."""
    telegram = sandboxes()
    kept_secret(tmp_path / "local.key", make=lambda: _KEY)
    settings = {
        "DATABASE_URL": empty_database(),
        "REDIS_URL": redis_url,
        "TELEGRAM_API_ID": str(API_ID),
        "TELEGRAM_API_HASH": API_HASH,
        "TELEGRAM_DC_ADDRESS": f"2:{HOST}:{telegram.dcs[2]}",
        "TELEGRAM_PUBLIC_KEY_FILE": str(telegram.public_key_file),
        "LOCAL_KEY_FILE": str(tmp_path / "local.key"),
    }

    def version(name: str, tree: Path, api_key: str, *, more: str = "") -> Version:
        (tmp_path / name / "logs").mkdir(parents=True)
        paths = {"PYTHONPATH": f"{tree}{more}", "PYTHONSAFEPATH": "1"}
        environment = {**neutral_environment(), **settings, **paths}
        place = Place(folder=tmp_path / name, environment=environment, settings=frozenset(settings))
        return Version(tree=tree, place=place, url=f"http://{HOST}:{free_port()}", api_key=api_key)

    old = version("old", before, "", more=f":{requirements_before}")
    old.run("migrate")
    old.run("tenant", "create", "demo", "--name", "Demo")
    scopes = "logins,sessions:read"
    api_key = json.loads(old.run("api-key", "create", "--tenant", "demo", "--scopes", scopes, "--json"))["key"]
    with ExitStack() as stack:
        yield Upgrade(replace(old, api_key=api_key), version("new", ROOT, api_key), telegram.driver, stack)


@pytest.mark.timeout(180)
def test_logins_go_on_between_two_versions(upgrade: Upgrade) -> None:
    """Begun by one and finished by the other, both ways, while both webs serve. The steps are docs/operations/upgrades.md's."""
    old, new = upgrade.old, upgrade.new
    for version in (old, new):
        port = int(version.url.rpartition(":")[2])
        if version is new:
            # The schema first: code of the version before does not notice.
            begun_before = old.start()
            old.wait_for(begun_before, "waiting_for_scan")
            new.run("migrate")
            assert old.call("GET", "/readyz").status_code == 200
            begun_on_the_new_schema = old.start()
            old.wait_for(begun_on_the_new_schema, "waiting_for_scan")
            upgrade.begin(new, background_worker(new.place, metrics_port=free_port()))
            upgrade.begin(new, beat(new.place, metrics_port=free_port()))
            new_worker = upgrade.worker(new, 2)
        else:
            old_worker = upgrade.worker(old, 1)
        upgrade.begin(version, web(version.place, port=port))

    # Background and login workers, then web: the old worker hands its logins over.
    old_worker.send_signal(signal.SIGTERM)
    old_worker.wait(30)
    for login_id in (begun_before, begun_on_the_new_schema):
        upgrade.scan(new.wait_for(login_id, "waiting_for_scan"))
        session_id = old.wait_for(login_id, "authorized")["session_id"]
        seen = [version.call("GET", f"/v1/sessions/{session_id}").json() for version in (old, new)]
        assert [each["status"] for each in seen] == ["active", "active"]

    # The way back: what the new version began, the old one finishes.
    begun_by_the_new = new.start()
    new.wait_for(begun_by_the_new, "waiting_for_scan")
    upgrade.worker(old, 3)
    new_worker.send_signal(signal.SIGTERM)
    new_worker.wait(30)
    upgrade.scan(old.wait_for(begun_by_the_new, "waiting_for_scan"))
    assert new.wait_for(begun_by_the_new, "authorized")["session_id"]
    assert upgrade.telegram.stats()["violations"]["parallel_auth_key"] == 0
