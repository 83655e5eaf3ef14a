"""The production form, as far as it can be held to account without Docker: rules, dashboard, images, agreement."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry

from app.metrics import make_metrics

_ROOT = Path(__file__).resolve().parents[2]
_DEPLOY = _ROOT / "deploy"

# Metrics that are not ours to declare: the exporter's, Prometheus' own, and the gauges that are read from the database.
_FOREIGN = re.compile(
    r"up|celery_(active_consumer_count|queue_length|task_(sent|succeeded|failed)_total)"
    r"|telethon_(logins_pending|sessions|validation_lag_seconds|backup_age_seconds|encryption_key_age_seconds)"
    r"|telethon_(last_success_timestamp_seconds|webhook_backlog)"
)


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def _rules() -> list[dict[str, Any]]:
    return [rule for group in _yaml(_DEPLOY / "prometheus" / "rules.yml")["groups"] for rule in group["rules"]]


def _dashboard() -> Any:
    return json.loads((_DEPLOY / "grafana" / "dashboards" / "latchkey.json").read_text())


def _expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in _rules())
    for panel in _dashboard()["panels"]:
        yield from (target["expr"].replace("$__rate_interval", "5m") for target in panel.get("targets", ()))


def _known_names() -> set[str]:
    registry = CollectorRegistry()
    make_metrics(registry)
    samples = {"", "_total", "_bucket", "_count", "_sum"}
    declared = {family.name + sample for family in registry.collect() for sample in samples}
    return declared | {rule["record"] for rule in _rules() if "record" in rule}


@pytest.mark.parametrize("expression", sorted(set(_expressions())))
def test_expression_asks_for_metrics_that_exist(expression: str) -> None:
    """Each rule and panel is PromQL, and names only metrics that Latchkey or its exporter tells."""
    promql_parser.parse(expression)
    quoted = re.sub(r'"[^"]*"|\[[^]]*]', "", expression)
    names = re.findall(r"\b(?:telethon_|celery_|latchkey:)[\w:]+|\bup\b", quoted)
    unknown = [name for name in names if name not in _known_names() and not _FOREIGN.fullmatch(name)]
    assert names
    assert not unknown


def test_each_objective_of_the_contract_has_an_alert() -> None:
    """Scanned logins, cleanup, flood waits and expiry each have an alert, and each alert says where to look."""
    alerts = {rule["alert"]: rule for rule in _rules() if "alert" in rule}
    assert {"ScannedLoginsFail", "SessionCleanupSlow", "FloodWaitsTooMany", "LoginsExpireTooOften"} <= set(alerts)
    for alert in alerts.values():
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert set(alert["annotations"]) == {"summary", "look"}


def test_rule_tests_name_rules_that_exist() -> None:
    """The promtool tests cannot drift away from the rules."""
    tests = _yaml(_DEPLOY / "prometheus" / "rules.test.yml")["tests"]
    tested = {case["alertname"] for test in tests for case in test["alert_rule_test"]}
    assert tested <= {rule.get("alert") for rule in _rules()}


def test_dashboard_panels_are_distinct() -> None:
    """Grafana loads a dashboard with two panels of one id wrongly and silently."""
    ids = [panel["id"] for panel in _dashboard()["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        (
            "      PORT: 8000\n",
            "      PORT: 8000\n      PORT: 8000\n",
        ),  # Docker Compose refuses a key that stands twice
        (
            "    stop_grace_period: 10s\n",
            "    stop_grace_period: 10s\n    replicas_: 2\n",
        ),  # and one that it does not know
        ("", ""),
    ],
)
def test_make_check_reads_the_compose_file_as_docker_would(tmp_path: Path, line: str, becomes: str) -> None:
    """Where there is no Docker, `make check` refuses what Docker would refuse, and nothing else."""
    for name in ("docker-compose.yml", ".yamllint"):
        shutil.copy(_ROOT / name, tmp_path)
    (tmp_path / "deploy").symlink_to(_DEPLOY)
    (tmp_path / ".venv").symlink_to(_ROOT / ".venv")
    compose = tmp_path / "docker-compose.yml"
    compose.write_text(compose.read_text().replace(line, becomes) if line else compose.read_text())
    planned = subprocess.run(["make", "-n", "check"], cwd=_ROOT, capture_output=True, text=True, check=True).stdout
    checks = [
        check for check in planned.splitlines() if check.endswith(("docker-compose.yml", "docker-compose.yml deploy"))
    ]
    assert len(checks) == 2
    refused = [check for check in checks if subprocess.run(check.split(), cwd=tmp_path, check=False).returncode]
    assert bool(refused) == bool(line)
