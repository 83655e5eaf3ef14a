"""What MkDocs calls while it builds: the menu is completed, code blocks lose the words that only tests read, and diagrams
become pictures."""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterator
from typing import Any

from docsite.diagrams import DOCS, MERMAID, picture_of

_FENCE = re.compile(r"^(?P<fence>```+)(?P<language>[\w-]+) (?P<words>(?:test|shown)\b[^\n]*)$", re.MULTILINE)
_TITLE = re.compile(r'title="[^"]*"')

_log = logging.getLogger("mkdocs.hooks")  # MkDocs counts its warnings: a strict build fails on one


def on_config(config: Any) -> None:
    """Complete the menu: a new runbook, decision or guide is in it without a line in mkdocs.yml."""
    _complete(config.nav, set(_listed(config.nav)))


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Leave the language and the title of each code block (see ``docsite.snippets`` for the other words); show pictures."""
    folder = posixpath.dirname(page.file.src_uri)
    return MERMAID.sub(lambda found: _picture(found["source"], folder), _FENCE.sub(_plain, markdown))


def _listed(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        for below in entry.values() if isinstance(entry, dict) else [entry]:
            yield from _listed(below) if isinstance(below, list) else [below]


def _complete(section: list[Any], listed: set[str]) -> None:
    folder = posixpath.dirname(section[0]) if isinstance(section[0], str) else ""
    for entry in section:
        for below in entry.values() if isinstance(entry, dict) else ():
            if isinstance(below, list):
                _complete(below, listed)
    if folder:
        pages = [path.relative_to(DOCS).as_posix() for path in sorted((DOCS / folder).glob("*.md"))]
        section.extend(page for page in pages if page not in listed)


def _plain(found: re.Match[str]) -> str:
    title = _TITLE.search(found["words"])
    return f"{found['fence']}{found['language']}" + (f" {title[0]}" if title else "")


def _picture(source: str, folder: str) -> str:
    path = picture_of(source)
    if not path.exists():
        _log.warning("a diagram has no picture: see docsite/diagrams.py (%s)", source.splitlines()[0])
    address = posixpath.relpath(path.relative_to(DOCS).as_posix(), folder or ".")
    return f"[![Diagram]({address})]({address})"
