"""The generated pages, by name: what each should say now, and whether it does."""

from __future__ import annotations

from pathlib import Path

from docsite.api import api_page
from docsite.commands import commands_page
from docsite.inspection import application
from docsite.lists import decisions_page, runbooks_page
from docsite.metrics import metrics_page
from docsite.settings import settings_page

DOCS = Path(__file__).resolve().parent.parent / "docs"


def render() -> dict[str, str]:
    """Every generated page as it should be, by its path under `docs/`. Needs no store and no network."""
    with application() as app:
        return {
            "reference/api.md": api_page(app),
            "reference/settings.md": settings_page(),
            "reference/commands.md": commands_page(),
            "reference/metrics.md": metrics_page(app),
            "runbooks/index.md": runbooks_page(),
            "decisions/index.md": decisions_page(),
        }


def differing() -> list[str]:
    """The pages that are not as the code says now."""
    return [name for name, text in render().items() if _read(name) != text]


def write() -> None:
    """Write every page that differs."""
    for name, text in render().items():
        if _read(name) != text:
            (DOCS / name).write_text(text, encoding="utf-8")


def _read(name: str) -> str | None:
    path = DOCS / name
    return path.read_text(encoding="utf-8") if path.exists() else None
