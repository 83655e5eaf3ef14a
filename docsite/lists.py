"""The lists of runbooks and of decisions, from the pages themselves."""

from __future__ import annotations

import re
from pathlib import Path

from docsite.markdown import one_line, page, table

_DOCS = Path(__file__).resolve().parent.parent / "docs"
_SYMPTOM = re.compile(r"^## Symptom\n\n(?P<words>(?:.+\n)+)", re.MULTILINE)
_NUMBERED_TITLE = re.compile(r"^# \d+[.:] (?P<title>.+)$", re.MULTILINE)
_SENTENCES = re.compile(r"(?<=[.?]) (?=[A-Z])")

_ABOUT_RUNBOOKS = """A page for each alert: its symptom, its causes, the commands that tell and mend. The alert links
to its page. *Page*: somebody is woken. *Ticket*: it can wait until the morning."""


def runbooks_page() -> str:
    """Every alert's page with what it says, and the pages without an alert."""
    alerts, others = [], []
    for path in sorted((_DOCS / "runbooks").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        symptom = _SYMPTOM.search(text)
        if path.stem == "index":
            continue
        if path.stem[0].isupper() and symptom:
            how, what = _SENTENCES.split(one_line(symptom["words"]))[:2]
            alerts.append([f"[{path.stem}]({path.name})", how.rstrip("."), what])
        else:
            others.append(f"[{text.splitlines()[0].removeprefix('# ')}]({path.name})")
    listed = f"Without an alert: {', '.join(others)}." if others else ""
    return page("Runbooks", _ABOUT_RUNBOOKS, table(["alert", "is", "says"], alerts), listed)


def decisions_page() -> str:
    """Every decision by its title."""
    items: list[str] = []
    for path in sorted((_DOCS / "decisions").glob("0*.md")):
        title = _NUMBERED_TITLE.search(path.read_text(encoding="utf-8"))
        assert title is not None, f"{path.name} has no title such as `# 7. What we do`"
        items.append(f"{len(items) + 1}. [{title['title']}]({path.name})")
    return page(
        "Decisions", "What surprised us, ten lines each: why something is not as one would expect.", "\n".join(items)
    )
