"""What can go wrong while a stack is set up; the message is one line, for the person at the terminal."""

from __future__ import annotations


class SetupError(Exception):
    """Raised when the stack cannot run here; says what is wrong and what to do about it."""
