"""What must never be logged is taken out, should somebody log it all the same; and an event has one name."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.logs import redact
from app.settings import DataCentre
from app.telegram.session_formats import LIBRARIES, SessionFormat, write_session

_LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}


@pytest.mark.parametrize("session_format", LIBRARIES)
def test_a_string_session_is_taken_out_in_any_form(session_format: SessionFormat) -> None:
    """All of it, and what stands around it stays."""
    text = write_session(
        session_format,
        auth_key=os.urandom(256),
        data_centre=DataCentre(2, "149.154.167.51", 443),
        api_id=12345,
        telegram_user_id=42,
    )
    assert redact(f"session={text}, again '{text}'.") == "session=[redacted], again '[redacted]'."


def _logged() -> Iterator[tuple[str, str]]:
    """The event and the level of each call on a logger of ours."""
    root = Path(__file__).resolve().parent.parent
    for path in (path for folder in ("app", "tasks", "web") for path in (root / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            if node.func.attr in _LEVELS and ast.unparse(node.func.value).endswith("log"):
                yield ast.unparse(node.args[0]).strip("'"), _LEVELS[node.func.attr]


def test_an_event_has_one_name_and_one_level() -> None:
    """``subject.what_happened``: who filters by a name gets lines of one meaning, and of one urgency."""
    levels: dict[str, set[str]] = defaultdict(set)
    for event, level in _logged():
        levels[event].add(level)
    assert len(levels) > 60
    assert [event for event in levels if not re.fullmatch(r"[a-z_]+\.[a-z_]+", event)] == ["action"]
    assert {event: each for event, each in levels.items() if len(each) > 1} == {}


def test_long_lines_stay() -> None:
    """Paths, identifiers and prose are no secrets, however much of them there is."""
    line = " ".join(["/usr/lib/python3.11/site-packages/app.py", "ses_dx7r3m8p54a760a6dmem", "a" * 299] * 20)
    assert redact(line) == line


_FULL_DISK = """
from app.logs import configure_logs, get_logger
configure_logs(level="INFO", log_format="json", process="test")
get_logger("test").info("test.line", text="a line that cannot be written")
print("went on")
"""


def test_a_line_that_cannot_be_written_stops_no_work() -> None:
    """The disk of the logs is full: whoever logs goes on."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", _FULL_DISK], stdout=subprocess.PIPE, stderr=full, text=True, timeout=30, check=False
        )
    assert done.stdout == "went on\n"
