"""Text as it comes in: only what PostgreSQL can keep."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def storable(text: str) -> str:
    """Pass on text that PostgreSQL can keep.

    Raises:
        ValueError: it has NUL characters or halves of surrogate pairs, which JSON can spell.
    """
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must not contain NUL or half characters")
    return text


Storable = Annotated[str, AfterValidator(storable)]
"""Text that PostgreSQL can keep."""
