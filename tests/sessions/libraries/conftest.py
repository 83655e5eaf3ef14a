"""The libraries, those for Node.js installed once. Where there is no Node.js, or npm cannot install, their tests say so."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable

import pytest

from app.telegram.session_formats import SessionFormat
from devstack.ports import free_port
from sandbox.process import RunningSandbox
from tests.sessions.libraries.foreign import FOLDER, ForeignLibrary, Kurigram, NodeLibrary, Telethon

_INSTALL_SECONDS = 240

GetLibrary = Callable[[SessionFormat], ForeignLibrary]


@pytest.fixture(scope="session")
def sandbox(sandboxes: Callable[..., RunningSandbox]) -> RunningSandbox:
    """A Telegram at low ports: GramJS writes no port above 32767."""
    taken: set[int] = set()
    for _ in range(3):
        taken.add(free_port(taken=taken))
    return sandboxes(dc_ports=",".join(map(str, taken)))


@pytest.fixture(scope="session")
def missing_node() -> str | None:
    """Why the libraries for Node.js cannot be had here; None: they are installed."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return "there is no Node.js with npm here"
    lock = (FOLDER / "package-lock.json").read_bytes()
    stamp = FOLDER / "node_modules" / f".installed-{hashlib.sha256(lock).hexdigest()[:16]}"
    if stamp.exists():
        return None
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        subprocess.run(command, cwd=FOLDER, timeout=_INSTALL_SECONDS, check=True, capture_output=True)
    except (subprocess.SubprocessError, OSError) as exc:
        return f"npm could not install the libraries ({type(exc).__name__})"
    stamp.touch()
    return None


@pytest.fixture
def get_library(sandbox: RunningSandbox, request: pytest.FixtureRequest) -> GetLibrary:
    """Gives a library by its string session's form; skips the test if it cannot be had."""

    def get(session_format: SessionFormat) -> ForeignLibrary:
        if session_format == "telethon":
            return Telethon(sandbox)
        if session_format == "pyrogram":
            return Kurigram(sandbox)
        missing: str | None = request.getfixturevalue("missing_node")
        if missing is not None:
            pytest.skip(f"{session_format}: {missing}")
        return NodeLibrary(sandbox, f"{session_format}.mjs")

    return get
