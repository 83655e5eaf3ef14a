"""Run every benchmark, each in a process of its own, print a table and write ``bench/results.json``.

``python -m bench [NAME …]`` runs the modules ``bench/NAME_bench.py``; each has ``run()``, which returns figures by name.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).parent
_LONGEST_SECONDS = 900


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; the number of those that failed."""
    console, results, failed = Console(), {}, 0
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
        results[name] = json.loads(answer.stdout.splitlines()[-1])
        console.print(_table(name, results[name], time.monotonic() - began))
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "machine": platform.machine()}
    (FOLDER / "results.json").write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")
    return failed


def _table(name: str, figures: dict[str, object], seconds: float) -> Table:
    table = Table(title=f"{name} ({seconds:.0f} s)", title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for figure, value in figures.items():
        table.add_row(figure, _cell(value))
    return table


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return (
            f"{value['value']:,.1f} {value['unit']}; {value['peer']}: {value['peer_value']:,.1f}; "
            f"{value['ratio']:.2f} times, limit {value['limit']:g}"
        )
    return f"{value:,.3f}" if isinstance(value, float) else str(value)


def _one(name: str) -> None:
    figures = importlib.import_module(f"bench.{name}_bench").run()
    print(json.dumps(figures))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        _one(sys.argv[2])
    else:
        sys.exit(main(sys.argv[1:]))
