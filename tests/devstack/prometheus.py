"""Prometheus' own programs, where they can be had; and the rules of the production form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry

from app.metrics import make_metrics
from devstack.watching import find_program
from web.http_metrics import HttpMetrics

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "prometheus"

# Metrics that are not ours to declare: the exporter's, Prometheus' own, and the gauges that are read from the database.
_FOREIGN = re.compile(
    r"up|celery_(active_worker_count|worker_tasks_active|queue_length|task_(sent|succeeded|failed|retried)_total)"
    r"|telethon_(logins_pending|sessions|validation_lag_seconds|backup_age_seconds|encryption_key_(age|rotation)_seconds)"
    r"|telethon_(last_success_timestamp_seconds|webhook_backlog)"
)


def program(name: str) -> str:
    """The path of ``prometheus`` or ``promtool``; skips the test where there is none."""
    found = find_program(name)
    if found is None:
        pytest.skip(f"there is no {name}: `make prometheus` unpacks Debian's, where there is apt-get")
    return found


def rules() -> Iterator[dict[str, Any]]:
    """Every rule, recorded or alerting."""
    for path in sorted((FOLDER / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def alerts() -> dict[str, dict[str, Any]]:
    """The rules that alert, by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def unknown_names(expression: str) -> list[str]:
    """The metrics that a query names and nobody tells.

    Raises:
        ValueError: it is no PromQL.
    """
    promql_parser.parse(expression)
    quoted = re.sub(r'"[^"]*"|\[[^]]*]|\b(by|on|without) ?\([^)]*\)', "", expression)
    names = re.findall(r"\b(?:telethon_|celery_|latchkey[:_])[\w:]+|\bup\b", quoted)
    assert names, f"{expression} names no metric of ours"
    return [name for name in names if name not in _known_names() and not _FOREIGN.fullmatch(name)]


def _known_names() -> set[str]:
    registry = CollectorRegistry()
    make_metrics(registry)
    HttpMetrics(registry)
    samples = {"", "_total", "_bucket", "_count", "_sum"}
    declared = {family.name + sample for family in registry.collect() for sample in samples}
    return declared | {rule["record"] for rule in rules() if "record" in rule}
