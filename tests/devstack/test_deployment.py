"""The production form, as far as it can be held to account without Docker: rules, dashboard, images, agreement."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import yaml

from deploy.dashboards import DASHBOARDS, FOLDER, render
from deploy.panels import Dashboard, filled_in, to_grafana
from tests.devstack.prometheus import rules, unknown_names

_ROOT = Path(__file__).resolve().parents[2]
_DEPLOY = _ROOT / "deploy"


def _expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            yield from (filled_in(query, rate="5m", shown="1h") for query in panel.queries.values())


@pytest.mark.parametrize("expression", sorted(set(_expressions())))
def test_expression_asks_for_metrics_that_exist(expression: str) -> None:
    """Each rule and panel is PromQL, and names only metrics that Latchkey or its exporter tells."""
    assert not unknown_names(expression)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)
def test_a_dashboard_is_what_its_source_says(dashboard: Dashboard) -> None:
    """`make dashboards` was run; Compose hands the folder to Grafana, and nothing else is in it."""
    assert (FOLDER / f"{dashboard.name}.json").read_text() == render(dashboard)
    assert {path.stem for path in FOLDER.iterdir()} == {each.name for each in DASHBOARDS}
    compose = yaml.safe_load((_ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    provider = yaml.safe_load((_DEPLOY / "grafana" / "provisioning" / "dashboards" / "latchkey.yml").read_text())
    [options] = [each["options"] for each in provider["providers"]]
    assert f"./{FOLDER.relative_to(_ROOT)}:{options['path']}:ro" in compose["volumes"]


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)
def test_panels_are_distinct_and_do_not_overlap(dashboard: Dashboard) -> None:
    """Grafana loads a dashboard with two panels of one id, or two queries of one letter, wrongly and silently."""
    made = to_grafana(dashboard)
    ids = [panel["id"] for panel in made["panels"]]
    assert len(ids) == len(set(ids))
    fields: set[tuple[int, int]] = set()
    for panel in made["panels"]:
        letters = [target["refId"] for target in panel.get("targets", ())]
        assert len(letters) == len(set(letters))
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        taken = set(product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])))
        assert not taken & fields, panel["title"]
        fields |= taken


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
