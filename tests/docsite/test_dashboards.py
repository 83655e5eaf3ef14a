"""The pictures of the dashboards: they show what the dashboards are, and values as people read them."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from deploy.dashboards import DASHBOARDS
from deploy.panels import Dashboard, Unit
from docsite.charts import Series, draw, tell
from docsite.dashboards import PICTURES

_SVG = "{http://www.w3.org/2000/svg}"


def made_up(dashboard: Dashboard) -> dict[str, list[Series]]:
    """Something to show in each panel: a line with a gap, a bar, a long name."""
    points = [(float(second), math.nan if second == 3 else second * 1.5) for second in range(10)]
    return {
        panel.title: [
            Series(legend, points if panel.kind == "timeseries" else [(9.0, 4.0)]) for legend in panel.queries
        ]
        for panel in dashboard.panels
    }


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)
def test_the_picture_in_the_documentation_is_of_this_dashboard(dashboard: Dashboard) -> None:
    """A panel that came, went or was renamed wants a new picture: `make pictures`."""
    shown = ElementTree.parse(PICTURES / f"{dashboard.name}.svg").getroot()
    titles = [text.text for text in shown.iter(f"{_SVG}text") if text.get("class") == "name"]
    assert titles == [panel.title for panel in dashboard.panels]


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)
def test_titles_tell_panels_apart(dashboard: Dashboard) -> None:
    """Whoever says "look at Flood waits by method" means one."""
    titles = [panel.title for panel in dashboard.panels]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)
def test_everything_is_inside_the_picture(dashboard: Dashboard) -> None:
    """Lines, bars and what is written begin and end within its edges, and each panel has something to show."""
    picture = ElementTree.fromstring(draw(dashboard, made_up(dashboard), shown=(0.0, 9.0)))
    _, _, width, height = (float(number) for number in picture.attrib["viewBox"].split())
    for each in picture.iter():
        for x, y in _corners(each):
            assert 0 <= x <= width, ElementTree.tostring(each)
            assert 0 <= y <= height, ElementTree.tostring(each)
    lines = list(picture.iter(f"{_SVG}polyline"))
    drawn = [panel for panel in dashboard.panels if panel.kind == "timeseries"]
    assert len(lines) >= 2 * len(drawn)  # a gap is a gap


def _corners(each: ElementTree.Element) -> list[tuple[float, float]]:
    if points := each.get("points"):
        return [(float(x), float(y)) for x, y in (point.split(",") for point in points.split())]
    x, y = float(each.get("x", 0)), float(each.get("y", 0))
    return [(x, y), (x + float(each.get("width", 0)), y + float(each.get("height", 0)))]


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        (0.25, "s", "250 ms"),
        (1.44, "s", "1.4 s"),
        (90.0, "s", "90 s"),
        (300.0, "s", "5 min"),
        (7200.0, "s", "2 h"),
        (90 * 86400.0, "s", "90 d"),
        (0.123, "percentunit", "12 %"),
        (0.001, "percentunit", "0.1 %"),
        (0.8, "ops", "0.8/s"),
        (4.0, "short", "4"),
        (12_400.0, "short", "12k"),
        (math.nan, "short", "none"),
    ],
)
def test_values_are_told_as_people_read_them(value: float, unit: Unit, told: str) -> None:
    """No 0.25 of a second, no 7200 of them."""
    assert tell(value, unit) == told
