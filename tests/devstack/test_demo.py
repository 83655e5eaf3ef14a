"""`make demo`: the main job, as a newcomer sees it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from devstack.configuration import neutral_environment
from devstack.roles import ROOT


@pytest.fixture
def temporary() -> Iterator[Path]:
    """An empty temporary folder that PostgreSQL's account can reach, as the system's own is."""
    with tempfile.TemporaryDirectory(prefix="latchkey-demo-test-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def _demo(temporary: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "devstack", "demo"],
        cwd=ROOT,
        env={**neutral_environment(), "TMPDIR": str(temporary), **environment},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_demo_logs_two_people_in_and_leaves_nothing(temporary: Path) -> None:
    """It shows both logins through to what was stored, exits 0, and leaves no process and no file."""
    done = _demo(temporary)
    assert done.returncode == 0, done.stdout + done.stderr
    order = ["waiting_for_scan", "authorized", "password_required", "5 attempts left", "4 attempts left", "authorized"]
    rest = done.stdout
    for text in order:
        assert text in rest, f"{text!r} is missing or out of order in:\n{done.stdout}"
        rest = rest.partition(text)[2]
    assert "gAAAA" in rest
    assert "█" in done.stdout
    assert not list(temporary.iterdir())
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(temporary) in " ".join(p.info["cmdline"] or ())]


def test_demo_writes_plain_lines_where_there_is_no_terminal(temporary: Path) -> None:
    """Into a pipe, and without Unicode, it writes lines of at most 80 columns and no escape sequences."""
    done = _demo(temporary, PYTHONIOENCODING="ascii", NO_COLOR="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
