"""The image without Docker: what the Dockerfile copies, in an environment of `requirements.txt` alone, as another user.

And the services of docker-compose.yml in it: their own commands, settings and health checks, with addresses replaced.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from devstack.postgres_binaries import reachable
from devstack.programs import Account, Program
from tests.devstack.prometheus import ROOT

_DOCKERFILE = (ROOT / "Dockerfile").read_text()
_FINAL_STAGE = _DOCKERFILE[_DOCKERFILE.rindex("\nFROM ") :]
_ACCOUNT = Account(uid=10001, gid=10001)  # the image's and the compose file's own


@dataclass(frozen=True)
class Image:
    """A folder that holds what the image's working folder holds, and the interpreter that runs it."""

    tree: Path
    binaries: Path
    account: Account | None

    def environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Those settings and what the Dockerfile sets, and nothing of ours."""
        return {
            "PATH": f"{self.binaries}:/usr/bin:/bin",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": "/nonexistent",
            **settings,
        }

    def run(self, command: list[str], settings: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command in the image to its end."""
        return subprocess.run(
            [str(self.binaries / command[0]), *command[1:]],
            cwd=self.tree,
            env=self.environment(settings),
            user=self.account.uid if self.account else None,
            group=self.account.gid if self.account else None,
            extra_groups=[] if self.account else None,
            capture_output=True,
            text=True,
            check=False,
        )


def build_image(folder: Path) -> Image:
    """Copy and install. The environment is kept for the next time, until `requirements.txt` changes."""
    python, account = _python()
    environment = _environment(python)
    tree = folder / "srv"
    tree.mkdir()
    for source, target in re.findall(r"^COPY (?!--from)(\S+) (\S+)$", _FINAL_STAGE, flags=re.MULTILINE):
        where = (tree / target / source) if target.endswith("/") else (tree / target)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, where, ignore=_not_in_the_image)
        else:
            shutil.copy(ROOT / source, where)
    compiling = re.search(r"^RUN python (-m compileall .*)$", _FINAL_STAGE, flags=re.MULTILINE)
    assert compiling
    subprocess.run([str(environment / "python"), *compiling[1].split()], cwd=tree, check=True)
    for path in (tree, *tree.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return Image(tree=tree, binaries=environment, account=account)


def _not_in_the_image(folder: str, names: list[str]) -> set[str]:
    """What .dockerignore leaves out of a folder that it lets in."""
    return {name for name in names if name == "__pycache__" or (Path(folder).name, name) == ("deploy", "secrets")}


def _python() -> tuple[str, Account | None]:
    """An interpreter that the image's user can run; ours, and no other user, where there is none or we may not change."""
    if os.geteuid() == 0:
        for found in (sys.executable, "/usr/bin/python3.13", "/usr/bin/python3.12", "/usr/bin/python3.11"):
            if Path(found).exists() and reachable(Path(found), _ACCOUNT) and reachable(ROOT, _ACCOUNT):
                return found, _ACCOUNT
    return sys.executable, None


def _environment(python: str) -> Path:
    """The scripts of an environment in which `requirements.txt` is installed and nothing else."""
    if importlib.util.find_spec("uv") is None:
        pytest.skip("there is no uv for this system: the image's environment would take minutes")
    requirements = ROOT / "requirements.txt"
    kept = ROOT / ".venv-image"
    stamp = kept / f".{hashlib.sha256(requirements.read_bytes() + python.encode()).hexdigest()[:16]}"
    if not stamp.exists():
        shutil.rmtree(kept, ignore_errors=True)
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "-q", "--python", python, str(kept)], check=True)
        install = [*uv, "pip", "install", "-q", "--compile-bytecode", "--python", str(kept / "bin" / "python")]
        subprocess.run([*install, "-r", str(requirements)], check=True)
        stamp.touch()
    return kept / "bin"


@dataclass(frozen=True)
class Service:
    """A service of docker-compose.yml, as it runs here."""

    name: str
    command: list[str]
    settings: Mapping[str, str] = field(repr=False)
    health_check: list[str]
    stop_signal: signal.Signals

    def program(self, image: Image, folder: Path) -> Program:
        """The service as a process in the image."""
        return Program(
            name=self.name,
            command=(str(image.binaries / self.command[0]), *self.command[1:]),
            environment=image.environment(self.settings),
            folder=image.tree,
            account=image.account,
            log=folder / f"{self.name}.log",
            ready=lambda: True,
            stop_signal=self.stop_signal,
            stop_seconds=60.0,
        )

    def is_healthy(self, image: Image) -> bool:
        """What its own health check says."""
        return image.run(self.health_check, self.settings).returncode == 0


def read_services(given: Mapping[str, str], *, replaced: Mapping[str, Mapping[str, str]]) -> Iterator[Service]:
    """The services that run the image.

    Args:
        given: the variables of ``.env``.
        replaced: by service, "" for all: what stands in the file, and what it is here.
    """
    decided = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    command = json.loads(re.findall(r"^CMD (.*)$", _FINAL_STAGE, flags=re.MULTILINE)[0])
    for name, service in decided["services"].items():
        if not str(service.get("image", "")).startswith("latchkey:"):
            continue

        def here(text: object, name: str = name) -> str:
            told = _interpolate(str(text), given)
            for pattern, value in {**replaced[""], **replaced.get(name, {})}.items():
                told = re.sub(pattern, value, told)
            return told

        yield Service(
            name=name,
            command=[here(word) for word in service.get("command", command)],
            settings=_settings(service["environment"], given, here),
            health_check=[here(word) for word in service.get("healthcheck", {"test": ["CMD"]})["test"][1:]],
            stop_signal=signal.Signals[service.get("stop_signal", "SIGTERM")],
        )


def _settings(environment: Mapping[str, Any], given: Mapping[str, str], here: Any) -> dict[str, str]:
    """A setting without a value is passed on when it is given."""
    passed_on = {name: given.get(name) if value is None else here(value) for name, value in environment.items()}
    return {name: value for name, value in passed_on.items() if value is not None}


def _interpolate(text: str, given: Mapping[str, str]) -> str:
    """``${NAME:-default}`` and ``${NAME-default}``, as Docker Compose reads them."""

    def value(found: re.Match[str]) -> str:
        name, empty_too, default = found.groups()
        told = given.get(name)
        return default if told is None or (empty_too and not told) else told

    return re.sub(r"\$\{(\w+)(:?)-([^}]*)\}", value, text)


def make_folder() -> Path:
    """A folder that another user can walk through: pytest's own are private."""
    folder = Path(tempfile.mkdtemp(prefix="latchkey-image-"))
    folder.chmod(0o755)
    return folder
