"""What MkDocs calls while it builds: code blocks lose the words that only tests read, and diagrams become pictures."""

from __future__ import annotations

import re
from typing import Any

_FENCE = re.compile(r"^(?P<fence>```+)(?P<language>[\w-]+) (?P<words>(?:test|shown)\b[^\n]*)$", re.MULTILINE)
_TITLE = re.compile(r'title="[^"]*"')


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Leave the language and the title of each code block; see ``docsite.snippets`` for the other words."""
    return _FENCE.sub(_plain, markdown)


def _plain(found: re.Match[str]) -> str:
    title = _TITLE.search(found["words"])
    return f"{found['fence']}{found['language']}" + (f" {title[0]}" if title else "")
