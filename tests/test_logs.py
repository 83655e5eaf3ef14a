"""What must never be logged is taken out, should somebody log it all the same."""

from __future__ import annotations

import os

import pytest

from app.logs import redact
from app.settings import DataCentre
from app.telegram.session_formats import LIBRARIES, SessionFormat, write_session


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


def test_long_lines_stay() -> None:
    """Paths, identifiers and prose are no secrets, however much of them there is."""
    line = " ".join(["/usr/lib/python3.11/site-packages/app.py", "ses_dx7r3m8p54a760a6dmem", "a" * 299] * 20)
    assert redact(line) == line
