"""Dashboards as values, and the JSON that Grafana reads. What they show is ``deploy.dashboards``'."""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["timeseries", "stat", "bargauge"]
Unit = Literal["short", "s", "ops", "reqps", "percentunit"]

RATE, RANGE, TENANT = "$__rate_interval", "$__range", "$tenant"
"""What Grafana puts in: a window for rates, the range that is shown, and the tenants that were chosen."""

_DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
_COLUMNS = 24


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture.

    Args:
        queries: PromQL by its legend; ``{{label}}`` in a legend is that label's value.
        about: what to read from it, where the title does not say it.
        width: of 24 columns.
        limit: a value from which on it is bad: drawn as a line.
    """

    title: str
    queries: dict[str, str]
    unit: Unit = "short"
    kind: Kind = "timeseries"
    width: int = 8
    height: int = 7
    about: str = ""
    limit: float | None = None


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """One page: rows of panels, each under its heading.

    Args:
        by_tenant: whether the page has a choice of tenants, which its queries name as ``TENANT``.
    """

    name: str
    title: str
    about: str
    rows: dict[str, tuple[Panel, ...]] = field(default_factory=dict)
    by_tenant: bool = False

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All of them, from top to bottom."""
        return tuple(panel for row in self.rows.values() for panel in row)


def filled_in(query: str, *, rate: str, shown: str, tenants: str = ".*") -> str:
    """A query as Grafana would send it.

    Args:
        rate: the window of rates, ``5m``.
        shown: the range that is shown, ``1h``.
        tenants: a regular expression.
    """
    return query.replace(RATE, rate).replace(RANGE, shown).replace(TENANT, tenants)


def to_grafana(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana's file provisioning takes it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for heading, row in dashboard.rows.items():
        panels.append({"id": len(panels) + 1, **_heading(heading, y)})
        x, y, tallest = 0, y + 1, 0
        for panel in row:
            if x + panel.width > _COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            place = {"h": panel.height, "w": panel.width, "x": x, "y": y}
            panels.append({"id": len(panels) + 1, **_panel(panel), "gridPos": place})
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return {
        "uid": f"latchkey-{dashboard.name}",
        "title": f"Latchkey: {dashboard.title}",
        "description": dashboard.about,
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "utc",
        "tags": ["latchkey"],
        "links": [
            {"type": "dashboards", "tags": ["latchkey"], "title": "Latchkey", "asDropdown": True, "keepTime": True}
        ],
        "templating": {"list": [_tenants()] if dashboard.by_tenant else []},
        "annotations": {"list": []},
        "panels": panels,
    }


def _heading(title: str, y: int) -> dict[str, Any]:
    return {
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": {"h": 1, "w": _COLUMNS, "x": 0, "y": y},
        "panels": [],
    }


def _panel(panel: Panel) -> dict[str, Any]:
    instant = panel.kind != "timeseries"
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _DATASOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, **_look(panel)}, "overrides": []},
        "options": _options(panel.kind),
        "targets": [
            {"refId": letter, "expr": expression, "legendFormat": legend, "instant": instant, "range": not instant}
            for letter, (legend, expression) in zip(string.ascii_uppercase, panel.queries.items(), strict=False)
        ],
    }


def _look(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "blue" if panel.limit is None else "green", "value": None}]
    look: dict[str, Any] = {"thresholds": {"mode": "absolute", "steps": steps}}
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
        if panel.kind == "timeseries":
            look["custom"] = {"thresholdsStyle": {"mode": "dashed"}}
    if panel.kind == "timeseries":
        return look | {"color": {"mode": "palette-classic"}}
    return look | {"color": {"mode": "thresholds"}}


def _options(kind: Kind) -> dict[str, Any]:
    last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    match kind:
        case "timeseries":
            legend = {"displayMode": "list", "placement": "bottom"}
            return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
        case "bargauge":
            return {"orientation": "horizontal", "displayMode": "basic", "reduceOptions": last, "showUnfilled": True}
        case "stat":
            return {"colorMode": "value", "graphMode": "none", "textMode": "auto", "reduceOptions": last}


def _tenants() -> dict[str, Any]:
    return {
        "name": "tenant",
        "label": "Tenant",
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": "label_values(telethon_auth_qr_start_total, tenant_id)", "refId": "tenants"},
        "definition": "label_values(telethon_auth_qr_start_total, tenant_id)",
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
        "sort": 1,
    }
