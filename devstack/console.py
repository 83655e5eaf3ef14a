"""What the person at the terminal sees of a stack: a checklist while it starts, a line for each thing that happens later.

On a terminal the checklist is alive; anywhere else (a pipe, a dumb terminal) it is one line per part, so that a log reads
well. Knows how things look, not what they mean.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_WIDTH = 80
_IN_ASCII = str.maketrans({"→": ">", "…": "~"})  # one for one: styles keep their places


@dataclass
class _Row:
    name: str
    began: float
    seconds: float | None = None


class Terminal:
    """Writes to a terminal, whatever it can do. A `Report` for the supervisor.

    Args:
        console: where to write; by default standard output as it is. ``NO_COLOR`` and ``TERM=dumb`` are heeded.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, width=None if Console().is_terminal else _WIDTH)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a program's last words may be in any script
        self._rows: dict[str, _Row] = {}
        self._live: Live | None = None
        self.unicode = (self.console.encoding or "").lower().startswith("utf")
        self._done, self._failed, self._spinner = ("✓", "✗", "dots") if self.unicode else ("ok", "FAILED", "line")

    @contextlib.contextmanager
    def checklist(self, title: str) -> Iterator[None]:
        """Show parts as they start, for the length of a block."""
        began = time.monotonic()
        self.console.print(Text(title, style="bold"))
        self._rows.clear()
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Live(get_renderable=self._table, console=self.console, refresh_per_second=12)
            with self._live:
                try:
                    yield
                finally:
                    self._live = None
        else:
            yield
        self.console.print(Text(f"  all of it in {time.monotonic() - began:.1f} s", style="dim"))

    def starting(self, name: str) -> None:
        """A part begins to start: the live checklist shows it turning."""
        self._rows[name] = _Row(name, time.monotonic())

    def ready(self, name: str, seconds: float) -> None:
        """A part is ready."""
        if name in self._rows:
            self._rows[name].seconds = seconds
        if self._live is None:
            self.console.print(self._ready(name, seconds))

    def trouble(self, sentence: str) -> None:
        """Something went wrong and is being mended."""
        self.console.print(Text(sentence, style="yellow"), soft_wrap=True)

    def failure(self, sentence: str) -> None:
        """It cannot go on: one line."""
        self.console.print(Text.assemble((f"{self._failed} ", "bold red"), sentence), soft_wrap=True)

    def line(self, *parts: str | tuple[str, str]) -> None:
        """A line of text; a part may be a pair of text and style. Never wrapped: addresses stay whole."""
        text = Text.assemble(*parts)
        if not self.unicode:
            text.plain = text.plain.translate(_IN_ASCII)
        self.console.print(text, soft_wrap=True)

    def _ready(self, name: str, seconds: float) -> Text:
        return Text.assemble(("  " + self._done, "green"), f" {name:<22}", (f"{seconds:5.1f} s", "dim"))

    def _table(self) -> Group:
        turning = Table.grid(padding=(0, 1))
        for row in self._rows.values():
            if row.seconds is None:
                turning.add_row(" ", Spinner(self._spinner, style="cyan"), Text(f"{row.name}", style="cyan"))
        finished = [self._ready(row.name, row.seconds) for row in self._rows.values() if row.seconds is not None]
        return Group(*finished, turning)
