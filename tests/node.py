"""Node for tests: packages installed once, by one test process at a time; a reason to skip where that cannot be."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

TYPESCRIPT_CLIENT = Path(__file__).parent.parent / "client-typescript"
_UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH")


def need_node() -> None:
    """Skip the test where there is no Node 20 with npm."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed here")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < 20:
        pytest.skip(f"node {version} is older than 20")


def install_packages(folder: Path) -> None:
    """Install what a folder's package-lock.json names, unless that is there already; skip where npm's registry is away."""
    need_node()
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".installed"
    with (folder / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        done = run(["npm", "ci", "--ignore-scripts"], folder)
        if done.returncode and any(each in done.stderr for each in _UNREACHABLE):
            pytest.skip("npm's registry cannot be reached from here")
        assert done.returncode == 0, done.stderr
        stamp.write_text(wanted)


def build_client() -> None:
    """Compile the TypeScript client into its dist/."""
    install_packages(TYPESCRIPT_CLIENT)
    with (TYPESCRIPT_CLIENT / "tsconfig.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run(["npm", "run", "--silent", "build"], TYPESCRIPT_CLIENT)
    assert done.returncode == 0, done.stdout + done.stderr


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command there to its end."""
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
