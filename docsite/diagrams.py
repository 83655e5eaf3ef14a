"""Diagrams: a page holds Mermaid's text, the site shows a picture of it, because no page loads a script from elsewhere.

A picture is named by what it was drawn from, so that a changed diagram without a new picture fails the build. This draws
what is missing:

    npm install --prefix /tmp/mermaid mermaid@11
    python -m docsite.diagrams /tmp/mermaid/node_modules/mermaid/dist/mermaid.min.js

It needs Chromium.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
PICTURES = DOCS / "diagrams"

MERMAID = re.compile(r"^```mermaid\n(?P<source>.*?)^```$", re.MULTILINE | re.DOTALL)
_SVG = re.compile(r"<svg .*</svg>", re.DOTALL)

_PAGE = """<!doctype html><meta charset="utf-8"><body><script src="{script}"></script><script>
mermaid.initialize({{ startOnLoad: false, theme: "neutral" }});
mermaid.render("diagram", {source}).then(({{ svg }}) => {{
  document.body.replaceChildren(new DOMParser().parseFromString(svg, "text/html").body.firstChild);
}});
</script>"""


def picture_of(source: str) -> Path:
    """Where the picture of a diagram is, or has to be."""
    return PICTURES / f"{hashlib.sha256(source.encode()).hexdigest()[:16]}.svg"


def draw_missing(script: Path) -> None:
    """Draw what has no picture yet, and remove the pictures of what is gone.

    Args:
        script: Mermaid itself, as one file.

    Raises:
        RuntimeError: a diagram came out empty.
    """
    texts = [path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))]
    sources = [found["source"] for text in texts for found in MERMAID.finditer(text)]
    PICTURES.mkdir(exist_ok=True)
    wanted = {picture_of(source): source for source in sources}
    for path in set(PICTURES.glob("*.svg")) - wanted.keys():
        path.unlink()
    for path, source in wanted.items():
        if not path.exists():
            path.write_text(_draw(source, script) + "\n", encoding="utf-8")


def _draw(source: str, script: Path) -> str:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "chromium")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        page.write_text(_PAGE.format(script=script.resolve().as_uri(), source=json.dumps(source)), encoding="utf-8")
        command = [
            chromium,
            "--headless=new",
            "--no-sandbox",
            "--virtual-time-budget=10000",
            "--dump-dom",
            page.as_uri(),
        ]
        dumped = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout  # noqa: S603
    drawn = _SVG.search(dumped)
    if drawn is None or "syntax error" in drawn[0].lower():
        raise RuntimeError(f"Mermaid drew nothing of: {source[:80]}")
    return _standalone(drawn[0])


def _standalone(svg: str) -> str:
    """As a file of its own: valid XML, with a ground that dark pages do not shine through."""
    svg = re.sub(r"<br\s*>", "<br/>", svg).replace("&nbsp;", "\u00a0")
    return (
        svg.replace("<svg ", '<svg style="background: white" ', 1)
        if ' style="' not in svg.split(">")[0]
        else (svg.replace(' style="', ' style="background: white; ', 1))
    )


if __name__ == "__main__":
    draw_missing(Path(sys.argv[1]))
