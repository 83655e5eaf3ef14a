"""The story of a run: one line for everything that the driver did or saw, in the order of time, and by whom.

Knows no secrets: whoever tells a line leaves them out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Line(NamedTuple):
    """``about`` is a person's name, or None: it concerns everybody (a strike, a process that died)."""

    at: float
    about: str | None
    text: str


class Story:
    """See the module.

    Args:
        path: the file that gets each line as it is told, so that a run that was killed has told its story, too.
    """

    def __init__(self, path: Path) -> None:
        self.began_at = time.time()
        self._lines: list[Line] = []
        self._file = path.open("w", buffering=1)

    def tell(self, text: str, *, about: str | None = None) -> None:
        """Add a line."""
        line = Line(time.time(), about, text)
        self._lines.append(line)
        self._file.write(self.format(line) + "\n")

    def close(self) -> None:
        """Nothing more is told."""
        self._file.close()

    def of(self, name: str) -> Iterator[str]:
        """One person's lines, and what struck everybody from their first line to their last."""
        own = [line.at for line in self._lines if line.about == name]
        if own:
            yield from (
                self.format(line)
                for line in self._lines
                if line.about == name or (line.about is None and own[0] <= line.at <= own[-1])
            )

    def format(self, line: Line) -> str:
        """A line as people read it: seconds since the run began, whom it is about, what happened."""
        return f"{line.at - self.began_at:7.2f}  {line.about or '*':<6} {line.text}"
