"""The code blocks of a page, and what is to be done with each: a test runs them as a reader would.

The first line of a block says it. MkDocs never sees these words (``docsite.hooks`` takes them out):

- ``sh test``: typed into the reader's terminal, one block after the other.
- ``python test title="connect.py"``: saved under that name, in the folder of the checkout.
- ``sh shown="why"``: not run, for this reason.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*) ?(?P<words>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_TITLE = re.compile(r'title="([^"]+)"')
_SHOWN = re.compile(r'shown="([^"]+)"')


class Snippet(NamedTuple):
    """One code block.

    ``is_tested``: it is typed or saved. ``title``: the file that it is saved as. ``why_not``: why it is only shown.
    """

    language: str
    is_tested: bool
    title: str | None
    why_not: str | None
    body: str


def read_snippets(path: Path) -> list[Snippet]:
    """Every code block of a page, in order. What has no language is output or a drawing, and is left out."""
    found = _BLOCK.finditer(path.read_text(encoding="utf-8"))
    return [_snippet(block) for block in found if block["language"]]


def _snippet(block: re.Match[str]) -> Snippet:
    words = block["words"]
    title, shown = _TITLE.search(words), _SHOWN.search(words)
    return Snippet(
        language=block["language"],
        is_tested=words.split(" ")[0] == "test",
        title=title[1] if title else None,
        why_not=shown[1] if shown else None,
        body=re.sub(f"^{block['indent']}", "", block["body"], flags=re.MULTILINE),
    )
