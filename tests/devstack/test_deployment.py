"""The production form, as far as it can be held to account without Docker: rules, dashboard, images, agreement."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.devstack.prometheus import rules, unknown_names

_ROOT = Path(__file__).resolve().parents[2]
_DEPLOY = _ROOT / "deploy"


def _dashboard() -> Any:
    return json.loads((_DEPLOY / "grafana" / "dashboards" / "latchkey.json").read_text())


def _expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    for panel in _dashboard()["panels"]:
        yield from (target["expr"].replace("$__rate_interval", "5m") for target in panel.get("targets", ()))


@pytest.mark.parametrize("expression", sorted(set(_expressions())))
def test_expression_asks_for_metrics_that_exist(expression: str) -> None:
    """Each rule and panel is PromQL, and names only metrics that Latchkey or its exporter tells."""
    assert not unknown_names(expression)


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
