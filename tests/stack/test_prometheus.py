"""A real Prometheus, with the production form's rules, scrapes the stack; what goes wrong at Telegram fires the alert."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from deploy.dashboards import DASHBOARDS
from deploy.panels import filled_in
from devstack import roles
from devstack.configuration import neutral_environment
from devstack.ports import HOST, free_port
from devstack.probes import answers_ok
from devstack.programs import Program, running
from devstack.roles import Place
from devstack.running import RunningStack
from tests.devstack.prometheus import FOLDER, program, rules
from tests.stack.city import City
from tests.waiting import wait_until

# As somebody types them: no sum, whichever process counted what.
_BY_HAND = (
    "rate(auth_qr_success_total[5m]) / rate(auth_qr_start_total[5m])",
    "rate(auth_qr_expired_total[5m]) / rate(auth_qr_published_total[5m])",
    "rate(floodwait_total[5m]) / rate(requests_total[5m])",
    "histogram_quantile(0.95, rate(session_cleanup_duration_seconds_bucket[5m]))",
)


class Prometheus:
    """One that runs."""

    def __init__(self, address: str) -> None:
        self._address = address

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The samples that a query finds now."""
        return self._get("query", query=query)["result"]  # type: ignore[no-any-return]

    def firing(self) -> set[str]:
        """The alerts that fire."""
        return {alert["labels"]["alertname"] for alert in self._get("alerts")["alerts"] if alert["state"] == "firing"}

    def _get(self, what: str, **parameters: str) -> dict[str, Any]:
        answer = requests.get(f"{self._address}/api/v1/{what}", params=parameters, timeout=10)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()["data"]
        return found


@pytest.fixture(scope="module")
def prometheus(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """The production form's configuration, with this stack's addresses, a second's interval, and no patience."""
    command, folder, port = program("prometheus"), tmp_path_factory.mktemp("prometheus"), free_port()
    exporter_port = free_port()
    exporter = roles.exporter(
        Place(folder=folder, environment=neutral_environment()),
        port=exporter_port,
        broker_url=stack.description["redis_url"],
    )
    _write_configuration(folder, stack.description, exporter_port)
    address = f"http://127.0.0.1:{port}"
    server = Program(
        name="prometheus",
        command=(
            *(command, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"),
            f"--web.listen-address=127.0.0.1:{port}",
        ),
        log=folder / "prometheus.log",
        ready=lambda: answers_ok(f"{address}/-/ready"),
    )
    with running(exporter), running(server):
        yield Prometheus(address)


def _write_configuration(folder: Path, description: dict[str, Any], exporter_port: int) -> None:
    decided = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    decided["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    targets = {"web": [f"{description['web']}/metrics"], "worker": description["worker_metrics"]}
    targets["celery"] = [f"http://{HOST}:{exporter_port}/metrics"]
    decided["scrape_configs"] = [
        {"job_name": job, "static_configs": [{"targets": [url.split("/")[2] for url in urls]}]}
        for job, urls in targets.items()
    ]
    # The exporter asks every worker at each scrape, and takes its second for that.
    decided["scrape_configs"][-1] |= {"scrape_interval": "3s", "scrape_timeout": "3s"}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(decided))
    (folder / "rules").mkdir()
    for path in (FOLDER / "rules").glob("*.yml"):
        (folder / "rules" / path.name).write_text(re.sub(r"^ +for: \w+\n", "", path.read_text(), flags=re.MULTILINE))


def test_flood_waits_fire_their_alert(city: City, prometheus: Prometheus) -> None:
    """Telegram answers with FLOOD_WAIT: within seconds the objective's alert fires."""
    wait_until(lambda: len(prometheus.ask("up == 1")) == 5)
    wait_until(lambda: len(prometheus.ask("count_over_time(telethon_floodwait_total[1m]) > 1")) > 4)
    assert "FloodWaitsTooMany" not in prometheus.firing()
    city.telegram.add_fault(method="auth.exportLoginToken", error="FLOOD_WAIT_1", times=1)
    started = city.start()
    wait_until(lambda: "FloodWaitsTooMany" in prometheus.firing(), within_seconds=20)
    city.telegram.scan(city.telegram.create_account()["id"], city.wait_for_qr(started["id"]))
    city.wait_for(started["id"], "authorized")


def test_every_query_has_an_answer(city: City, prometheus: Prometheus) -> None:
    """What is recorded, what the dashboards show, what people type: one sample at least, from the stack's first minute on."""
    shown = (
        filled_in(query, rate="1m", shown="5m")
        for dashboard in DASHBOARDS
        for panel in dashboard.panels
        for query in panel.queries.values()
    )
    recorded = (rule["record"] for rule in rules() if "record" in rule)
    queries = {*recorded, *shown, *_BY_HAND}
    assert len(queries) > 130

    def unanswered() -> list[str]:
        return [query for query in queries if not prometheus.ask(query)]

    wait_until(lambda: not unanswered(), within_seconds=20, every_seconds=0.5)
