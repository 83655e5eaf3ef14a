"""Draws a dashboard as SVG from what Prometheus answered: the pictures of the documentation, where no Grafana is at hand.

It follows Grafana's grid and its kinds of panels, not its looks. Knows nothing of where the answers come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

from deploy.panels import Dashboard, Panel, Unit, to_grafana

_COLUMN, _ROW, _GAP = 50, 30, 8
_WIDTH = 24 * _COLUMN
_TOP = 56
_FEW, _MANY = 4, 7
_ROUND_SECONDS = (120, 240, 480, 960, 1800, 3600, 7200, 6 * 3600, 12 * 3600, 2 * 86400, 10 * 86400, 100 * 86400)
_COLOURS = (
    "#3274d9",
    "#e0752d",
    "#37872d",
    "#8f3bb8",
    "#c4162a",
    "#0f8b8d",
    "#b7950b",
    "#6c757d",
    "#d6568c",
    "#5c4b37",
)
_GOOD, _BAD, _PLAIN = "#37872d", "#c4162a", "#3274d9"
_STYLE = """text { font: 11px system-ui, sans-serif; fill: #24292e }
.title { font-size: 20px; font-weight: 600 } .about { font-size: 13px; fill: #57606a }
.heading { font-size: 14px; font-weight: 600 } .name { font-size: 12px; font-weight: 600 } .faint { fill: #57606a }
.panel { fill: #fff; stroke: #d0d7de } .grid { stroke: #e6e9ec } .room { fill: #eef1f4 } .bar { fill: #3274d9 }
.line { fill: none; stroke-width: 1.6; stroke-linejoin: round } .limit { stroke: #c4162a; stroke-dasharray: 5 4 }
.big { font-size: 30px; font-weight: 600 }"""


@dataclass(frozen=True)
class Series:
    """One line or bar: moments in Unix seconds, each with its value; NaN where there was nothing to tell."""

    legend: str
    points: Sequence[tuple[float, float]]

    @property
    def last(self) -> float:
        """The newest value."""
        return self.points[-1][1]


@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    width: float
    height: float

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def right(self) -> float:
        return self.x + self.width


def draw(dashboard: Dashboard, answers: Mapping[str, Sequence[Series]], *, shown: tuple[float, float]) -> str:
    """Draw a dashboard.

    Args:
        answers: the series of each panel, by its title.
        shown: from when until when, in Unix seconds.
    """
    parts: list[str] = []
    bottom = 0.0
    panels = iter(dashboard.panels)
    for placed in to_grafana(dashboard)["panels"]:
        box = _place(placed["gridPos"])
        bottom = max(bottom, box.bottom)
        if placed["type"] == "row":
            parts.append(_text(box.x + 4, box.y + 21, placed["title"], "heading"))
        else:
            panel = next(panels)
            parts += _panel(panel, box, answers[panel.title], shown)
    height = bottom + _GAP
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" role="img">',
        f"<title>{escape(dashboard.title)}</title><style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#f6f8fa"/>',
        _text(10, 26, f"Latchkey: {dashboard.title}", "title"),
        _text(10, 46, dashboard.about, "about"),
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def tell(value: float, unit: Unit) -> str:
    """A value as people read it: ``1.4 s``, ``3 h``, ``12 %``, ``0.8/s``."""
    if math.isnan(value):
        return "none"
    match unit:
        case "s":
            return _seconds(value)
        case "percentunit":
            return f"{_short(value * 100)} %"
        case "ops" | "reqps":
            return f"{_short(value)}/s"
        case "short":
            return _short(value)


def _seconds(value: float) -> str:
    if 0 < value < 1:
        return f"{value * 1000:.0f} ms"
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if value >= 2 * size:
            return f"{_short(value / size)} {name}"
    return f"{_short(value)} s"


def _short(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:.0f}k"
    return f"{value:.0f}" if value == int(value) or value >= 100 else f"{value:.2g}"


def _place(grid: Mapping[str, int]) -> _Box:
    return _Box(
        grid["x"] * _COLUMN + _GAP / 2,
        _TOP + grid["y"] * _ROW,
        grid["w"] * _COLUMN - _GAP,
        grid["h"] * _ROW - _GAP,
    )


def _panel(panel: Panel, box: _Box, series: Sequence[Series], shown: tuple[float, float]) -> Iterator[str]:
    yield f'<rect class="panel" x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="3"/>'
    yield _text(box.x + 9, box.y + 18, panel.title, "name")
    inside = _Box(box.x + 9, box.y + 28, box.width - 18, box.height - 34)
    match panel.kind:
        case "timeseries":
            yield from _timeseries(panel, inside, _telling(series), shown)
        case "bargauge":
            yield from _bars(panel, inside, series)
        case "stat":
            yield from _stat(panel, inside, series)


def _stat(panel: Panel, box: _Box, series: Sequence[Series]) -> Iterator[str]:
    value = series[0].last
    colour = _PLAIN if panel.limit is None else _BAD if value >= panel.limit else _GOOD
    middle = box.x + box.width / 2
    yield _text(middle, box.y + box.height / 2 + 10, tell(value, panel.unit), "big", anchor="middle", fill=colour)


def _bars(panel: Panel, box: _Box, series: Sequence[Series]) -> Iterator[str]:
    most = max((each.last for each in series if not math.isnan(each.last)), default=0) or 1
    names = min(max(len(each.legend) for each in series) * 6.1 + 8, box.width * 0.55)
    room = box.width - names - 52
    step = min(24.0, box.height / len(series))
    for number, each in enumerate(series):
        y = box.y + number * step
        bar = room * (0 if math.isnan(each.last) else each.last) / most
        yield _text(box.x + names - 6, y + step / 2 + 4, _cut(each.legend, names), "faint", anchor="end")
        at = f'x="{box.x + names:.1f}" y="{y + 2:.1f}" height="{step - 4:.1f}" rx="2"'
        yield f'<rect class="room" {at} width="{room:.1f}"/>'
        if bar:
            yield f'<rect class="bar" {at} width="{bar:.1f}"/>'
        yield _text(box.right, y + step / 2 + 4, tell(each.last, panel.unit), "", anchor="end")


def _telling(series: Sequence[Series]) -> Sequence[Series]:
    """Those that say more than nothing, where there are many; the highest first."""
    highest = {each.legend: max((value for _, value in each.points if value > 0), default=0.0) for each in series}
    ordered = sorted(series, key=lambda each: -highest[each.legend])
    some = [each for each in ordered if highest[each.legend] > 0]
    return ordered if len(ordered) <= _FEW else (some or ordered)[:_MANY]


def _timeseries(panel: Panel, box: _Box, series: Sequence[Series], shown: tuple[float, float]) -> Iterator[str]:
    keys, rows = _legend(series, box)
    plot = _Box(box.x + 44, box.y, box.width - 46, box.height - 16 - 14 * rows)
    values = [value for each in series for _, value in each.points if not math.isnan(value)]
    if panel.limit is not None and (max(values, default=0) == 0 or panel.limit <= 2 * max(values)):
        values.append(panel.limit)
    top = _ceiling(values, panel.unit)
    yield from _axes(panel, plot, top, shown)
    for number, each in enumerate(series):
        yield from _line(plot, top, each, _COLOURS[number % len(_COLOURS)], shown)
    if panel.limit is not None and panel.limit <= top:
        y = plot.bottom - plot.height * panel.limit / top
        yield f'<line class="limit" x1="{plot.x}" x2="{plot.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
    yield from keys


def _axes(panel: Panel, plot: _Box, top: float, shown: tuple[float, float]) -> Iterator[str]:
    for part in (0, 0.5, 1):
        y = plot.bottom - plot.height * part
        yield f'<line class="grid" x1="{plot.x}" x2="{plot.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(plot.x - 6, y + 4, tell(top * part, panel.unit), "faint", anchor="end")
    yield _text(plot.x, plot.bottom + 13, f"{_seconds(round(shown[1] - shown[0]))} ago", "faint")
    yield _text(plot.right, plot.bottom + 13, "now", "faint", anchor="end")


def _line(plot: _Box, top: float, series: Series, colour: str, shown: tuple[float, float]) -> Iterator[str]:
    start, end = shown
    told = [(moment, value) for moment, value in series.points if not math.isnan(value)]
    usual = min((later - moment for (moment, _), (later, _) in pairwise(series.points)), default=0.0)
    pieces: list[list[str]] = []
    before = -math.inf
    for moment, value in told:
        if moment - before > 1.5 * usual:  # nothing was told in between
            pieces.append([])
        before = moment
        x = plot.x + plot.width * (moment - start) / ((end - start) or 1)
        pieces[-1].append(f"{x:.1f},{plot.bottom - plot.height * min(value / top, 1):.1f}")
    for piece in pieces:
        if len(piece) > 1:
            yield f'<polyline class="line" stroke="{colour}" points="{" ".join(piece)}"/>'


def _legend(series: Sequence[Series], box: _Box) -> tuple[list[str], int]:
    """The keys of the lines, laid out from the bottom, and how many rows they take."""
    places: list[tuple[float, int]] = []
    x, row = 0.0, 0
    for each in series:
        width = len(each.legend) * 6.1 + 26
        if x and x + width > box.width:
            x, row = 0.0, row + 1
        places.append((x, row))
        x += width
    keys = []
    for number, ((x, at), each) in enumerate(zip(places, series, strict=True)):
        y = box.bottom - 14 * (row - at) + 2
        colour = _COLOURS[number % len(_COLOURS)]
        keys.append(f'<rect x="{box.x + x:.1f}" y="{y - 6:.1f}" width="12" height="3" fill="{colour}"/>')
        keys.append(_text(box.x + x + 16, y, _cut(each.legend, box.width - 20), ""))
    return keys, row + 1


def _ceiling(values: Sequence[float], unit: Unit) -> float:
    """A round number that is no less than any of them."""
    most = max(values, default=0.0)
    if most <= 0:
        return 1.0
    if unit == "s" and most > _ROUND_SECONDS[0]:
        return next((each for each in _ROUND_SECONDS if each >= most), most)
    size: float = 10 ** math.floor(math.log10(most))
    return next(step * size for step in (1, 2, 4, 6, 8, 10) if step * size >= most * 0.999)


def _cut(text: str, width: float) -> str:
    most = max(4, int(width / 6.1))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _text(x: float, y: float, text: str, name: str, *, anchor: str = "start", **more: Any) -> str:
    attributes = "".join(
        f' {key}="{value}"' if key != "fill" else f' style="fill:{value}"' for key, value in more.items()
    )
    kind = f' class="{name}"' if name else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}{attributes}>{escape(text)}</text>'
