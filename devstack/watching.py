"""A real Prometheus, and the Celery exporter, watch a running stack by the production form's configuration: tests, pictures."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import yaml

from devstack import roles
from devstack.configuration import neutral_environment
from devstack.ports import HOST, free_port
from devstack.probes import answers_ok
from devstack.programs import Program, running
from devstack.roles import ROOT, Place
from devstack.running import RunningStack

_FOLDER = ROOT / "deploy" / "prometheus"
_EXPORTER_SECONDS = 3  # times the others' interval: it asks every worker at each scrape, and takes its second for that


class Prometheus:
    """One that runs."""

    def __init__(self, address: str) -> None:
        self._address = address

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The samples that a query finds now."""
        return self._get("query", query=query)["result"]  # type: ignore[no-any-return]

    def ask_over(self, query: str, *, start: float, end: float, step_seconds: float) -> list[dict[str, Any]]:
        """The series that a query finds over a time, which is given in Unix seconds."""
        found = self._get("query_range", query=query, start=str(start), end=str(end), step=str(step_seconds))
        return found["result"]  # type: ignore[no-any-return]

    def firing(self) -> set[str]:
        """The alerts that fire."""
        return {alert["labels"]["alertname"] for alert in self._get("alerts")["alerts"] if alert["state"] == "firing"}

    def _get(self, what: str, **parameters: str) -> dict[str, Any]:
        answer = requests.get(f"{self._address}/api/v1/{what}", params=parameters, timeout=10)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()["data"]
        return found


def find_program(name: str) -> str | None:
    """The path of ``prometheus`` or ``promtool``, if there is one; `make prometheus` unpacks Debian's."""
    return shutil.which(name, path=str(ROOT / ".prometheus" / "usr" / "bin")) or shutil.which(name)


@contextmanager
def watching(
    stack: RunningStack, *, command: str, folder: Path, every_seconds: int = 1, patient: bool = True
) -> Iterator[Prometheus]:
    """Watch a stack for the length of a block.

    Args:
        command: Prometheus' program.
        folder: an empty one, for its configuration and its data.
        every_seconds: how often it is scraped.
        patient: whether alerts wait for as long as the rules say.
    """
    port, exporter_port = free_port(), free_port()
    exporter = roles.exporter(
        Place(folder=folder, environment=neutral_environment()),
        port=exporter_port,
        broker_url=stack.description["redis_url"],
    )
    _write_configuration(
        folder, _targets(stack, exporter_port=exporter_port), every_seconds=every_seconds, patient=patient
    )
    address = f"http://{HOST}:{port}"
    server = Program(
        name="prometheus",
        command=(
            *(command, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"),
            f"--web.listen-address={HOST}:{port}",
        ),
        log=folder / "prometheus.log",
        ready=lambda: answers_ok(f"{address}/-/ready"),
    )
    with running(exporter), running(server):
        yield Prometheus(address)


def _targets(stack: RunningStack, *, exporter_port: int) -> dict[str, list[str]]:
    """Where each job's processes listen; the exporter's job is the last one."""
    described = stack.description
    jobs = {"web": [described["web"]], "worker": described["worker_metrics"]}
    found = {job: [url.split("/")[2] for url in urls] for job, urls in jobs.items()}
    return found | {"celery": [f"{HOST}:{exporter_port}"]}


def _write_configuration(folder: Path, targets: dict[str, list[str]], *, every_seconds: int, patient: bool) -> None:
    decided = yaml.safe_load((_FOLDER / "prometheus.yml").read_text())
    decided["global"] = {"scrape_interval": f"{every_seconds}s", "evaluation_interval": f"{every_seconds}s"}
    decided["scrape_configs"] = [
        {"job_name": job, "static_configs": [{"targets": listening}]} for job, listening in targets.items()
    ]
    slow = f"{every_seconds * _EXPORTER_SECONDS}s"
    decided["scrape_configs"][-1] |= {"scrape_interval": slow, "scrape_timeout": slow}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(decided))
    (folder / "rules").mkdir()
    for path in (_FOLDER / "rules").glob("*.yml"):
        text = path.read_text()
        impatient = re.sub(r"^ +for: \w+\n", "", text, flags=re.MULTILINE)
        (folder / "rules" / path.name).write_text(text if patient else impatient)
