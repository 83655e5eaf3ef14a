"""Pieces of Markdown that the generated pages are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

GENERATED = "<!-- Made from the code by `make docs`; a test compares. Change the code, or docsite/, not this page. -->"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; no rows, no table."""
    body = [_row(row) for row in rows]
    return "\n".join([_row(head), _row(["---"] * len(head)), *body]) if body else ""


def page(title: str, *parts: str) -> str:
    """A whole page: its title, then its parts with an empty line between."""
    return "\n\n".join(filter(None, (f"# {title}", GENERATED, *parts))) + "\n"


def code(text: object) -> str:
    """Code within a line."""
    return f"`{text}`"


def one_line(text: str) -> str:
    """A text without its line breaks."""
    return " ".join(text.split())


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in cells) + " |"
