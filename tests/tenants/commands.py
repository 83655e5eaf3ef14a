"""Running commands of ``python -m app`` in a test."""

from __future__ import annotations

import json
from collections.abc import Callable

from click.testing import Result

Run = Callable[..., Result]
"""Runs a command: its words, what is typed (``typed``), and settings beside those of the test's stores."""


def answer(result: Result) -> object:
    """The JSON that a command printed."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)
