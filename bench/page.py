"""The page of the results, ``docs/operations/benchmarks.md``: what each benchmark does, and its figures."""

from __future__ import annotations

import importlib
from pathlib import Path

from bench.figures import Figure

PAGE = Path(__file__).parents[1] / "docs" / "operations" / "benchmarks.md"

_HEAD = """\
# Benchmarks

`make bench` runs them all, `make bench ONLY=name` one of them; each writes its figures into `bench/results.json` and onto this
page. Whatever has a peer was measured beside it in the same run, on the same machine, with everything (Telegram's stand-in
included) on that machine's cores. A limit is one of the ratio where there is a peer, and of the value otherwise or where it
says so. A figure that does not keep its limit is **bold**.
"""


def write_page(results: dict[str, Figure]) -> None:
    """Write the page of these results."""
    PAGE.write_text(render(results))


def render(results: dict[str, Figure]) -> str:
    """The page of these results, in Markdown."""
    names = sorted({figure["command"].removeprefix("make bench ONLY=") for figure in results.values()})
    return "\n".join([_HEAD, *(_section(name, results) for name in names)])


def cells(figure: Figure) -> tuple[str, str, str, str]:
    """A figure's value, peer, ratio and limit, for people."""
    beside = "" if figure["peer"] is None else f"{_number(figure['peer_value'])} ({figure['peer']})"
    ratio = "" if figure["ratio"] is None else f"{figure['ratio']:.2f}"
    limit = "" if figure["limit"] is None else f"{figure['bound']} {figure['limit']:g}"
    if figure["ratio"] is not None and figure["limit_of"] == "value":
        limit += f" {figure['unit']}"
    return f"{_number(figure['value'])} {figure['unit']}", beside, ratio, limit


def _section(name: str, results: dict[str, Figure]) -> str:
    module = importlib.import_module(f"bench.{name}_bench")
    figures = {key: each for key, each in results.items() if each["command"] == f"make bench ONLY={name}"}
    measured = next(iter(figures.values()))
    rows = [_row(key, figure) for key, figure in figures.items()]
    return "\n".join(
        [
            f"## {name.replace('_', ' ').capitalize()}\n",
            f"{(module.__doc__ or '').strip()}\n",
            f"`{measured['command']}`, {measured['at']}, {measured['machine']}\n",
            "| figure | value | beside it | ratio | limit |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _row(name: str, figure: Figure) -> str:
    value, *rest = cells(figure)
    if figure["kept"] is False:
        value = f"**{value}**"
    return f"| {name} | {value} | {' | '.join(rest)} |"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"
