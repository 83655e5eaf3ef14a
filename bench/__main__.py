"""Run the benchmarks, each in a process of its own; print a table, write ``bench/results.json`` and the page of the results.

``python -m bench [NAME …]`` runs the modules ``bench/NAME_bench.py``; each has ``run()``, which returns its figures by name
(``bench.figures``). Results of benchmarks that were not run stay as they were.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import Figure
from bench.page import cells, write_page

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
_LONGEST_SECONDS = 900


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; the number of those that failed to run."""
    console, failed = Console(width=160), 0
    results: dict[str, Figure] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in names or sorted(path.stem.removesuffix("_bench") for path in FOLDER.glob("*_bench.py")):
        began = time.monotonic()
        try:
            answer = subprocess.run(
                [sys.executable, "-m", "bench", "--one", name],
                capture_output=True,
                text=True,
                timeout=_LONGEST_SECONDS,
                check=True,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as exc:
            failed += 1
            console.print(f"[red]{name} failed[/]: {exc}\n{str(exc.stderr or '')[-2000:]}")
            continue
        command = f"make bench ONLY={name}"
        measured = {"command": command, "machine": _machine(), "at": f"{datetime.now(UTC):%Y-%m-%d}"}
        figures = {figure: value | measured for figure, value in json.loads(answer.stdout.splitlines()[-1]).items()}
        results = {figure: value for figure, value in results.items() if value["command"] != command} | figures
        RESULTS.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
        console.print(_table(name, figures, time.monotonic() - began))
    write_page(json.loads(RESULTS.read_text()))  # in the order that the file has them
    return failed


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def _table(name: str, figures: dict[str, Figure], seconds: float) -> Table:
    table = Table(title=f"{name} ({seconds:.0f} s)", title_justify="left")
    table.add_column("figure")
    for heading in ("value", "beside it", "ratio", "limit"):
        table.add_column(heading, justify="right")
    for figure, value in figures.items():
        style = "red" if value["kept"] is False else None
        table.add_row(figure, *cells(value), style=style)
    return table


def _one(name: str) -> None:
    figures: dict[str, Any] = importlib.import_module(f"bench.{name}_bench").run()
    print(json.dumps(figures))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        _one(sys.argv[2])
    else:
        sys.exit(main(sys.argv[1:]))
