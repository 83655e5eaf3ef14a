"""Writes the alerts of deploy/prometheus/rules as the object that the Prometheus operator reads: `make kubernetes`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

_DEPLOY = Path(__file__).parent
TARGET = _DEPLOY / "kubernetes" / "components" / "monitoring" / "alerts.yaml"
_HEADER = "# Written by `make kubernetes` from deploy/prometheus/rules: change them there.\n"


def render() -> str:
    """The PrometheusRule, as YAML."""
    groups: list[Any] = []
    for path in sorted((_DEPLOY / "prometheus" / "rules").glob("*.yml")):
        groups += yaml.safe_load(path.read_text())["groups"]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "latchkey"},
        "spec": {"groups": groups},
    }
    return _HEADER + yaml.safe_dump(rule, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    TARGET.write_text(render())
    sys.stdout.write(f"{TARGET}\n")
