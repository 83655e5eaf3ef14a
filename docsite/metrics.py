"""The page of the metrics: every family that a process registers, with its labels and what it counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

from apiflask import APIFlask
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from app.metrics_state import StateCollector
from app.metrics_tenants import TenantLabels
from docsite.markdown import code, page, table
from web.parts import Parts

_ABOUT = """Each process shows its metrics at `/metrics` of `METRICS_HOST`:`METRICS_PORT`. What never happened is told
as 0. The label `tenant_id` has a value of its own for the first `METRICS_MAX_TENANTS` tenants; further ones share
`other`. Alerts and their pages are in the [runbooks](../runbooks/index.md)."""

_COUNTED = "## What processes count\n\nCounters and histograms, each for its own process: add them up."
_STORED = """## What the stores say

Gauges that are read from PostgreSQL and Redis at the scrape: every process tells the same, so take the maximum."""
_WEB = "## The web role alone"
# Beat's are told by hand: to import it is to be a Celery process.
_BEAT = """## Beat alone

| metric | kind | labels | tells |
| --- | --- | --- | --- |
| `telethon_beat_sent_total` | counter | `task` | Tasks that beat has sent. |
| `telethon_beat_last_sent_timestamp_seconds` | gauge | | When beat last sent anything. |"""


_OPEN_LABELS = ("tenant_id",)


class _EmptyStore:
    """Stands for PostgreSQL and Redis with nothing in them: which gauges there are does not depend on what they hold."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: self

    def scalar(self, *_: object) -> float:
        return 0.0

    def all(self) -> list[tuple[str, int]]:
        return []

    def hmget(self, _: str, names: tuple[str, ...]) -> list[None]:
        return [None] * len(names)


def metrics_page(app: APIFlask) -> str:
    """Every metric by the process that has it."""
    parts: Parts = app.extensions["latchkey"]
    ours = sorted(_registered(parts.core.registry), key=lambda row: row.name)
    return page(
        "Metrics",
        _ABOUT,
        _COUNTED,
        _table(row for row in ours if row.name.startswith("telethon_")),
        _STORED,
        _table(_stored()),
        _WEB,
        _table(row for row in ours if row.name.startswith("latchkey_")),
        _BEAT,
    )


class _Row(NamedTuple):
    """One metric."""

    name: str
    kind: str
    labels: Mapping[str, list[str]]
    text: str


def _registered(registry: CollectorRegistry) -> Iterator[_Row]:
    for collector in list(registry._collector_to_names):
        for family in collector.collect():
            yield _row(family, getattr(collector, "_labelnames", ()))


def _stored() -> Iterator[_Row]:
    store = cast(Any, _EmptyStore())

    @contextmanager
    def transaction() -> Iterator[Any]:
        yield store

    for family in StateCollector(transaction, store, tenants=TenantLabels(1), rotation_days=90).collect():
        yield _row(family, getattr(family, "_labelnames", ()))


def _row(family: Metric, labels: Sequence[str]) -> _Row:
    taken = {
        label: sorted({sample.labels[label] for sample in family.samples if label in sample.labels}) for label in labels
    }
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return _Row(name=name, kind=family.type, labels=taken, text=family.documentation)


def _table(rows: Iterable[_Row]) -> str:
    shown = [
        [code(row.name), row.kind, "; ".join(_label(*each) for each in row.labels.items()), row.text] for row in rows
    ]
    return table(["metric", "kind", "labels", "tells"], shown)


def _label(name: str, values: Sequence[str]) -> str:
    if name in _OPEN_LABELS or not values:
        return code(name)
    return f"{code(name)}: {', '.join(values)}"
