"""A real Prometheus, with the production form's rules, scrapes the stack; what goes wrong at Telegram fires the alert."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from deploy.dashboards import DASHBOARDS
from deploy.panels import filled_in
from devstack.running import RunningStack
from devstack.watching import Prometheus, watching
from tests.devstack.prometheus import program, rules
from tests.stack.city import City
from tests.waiting import wait_until

# As somebody types them: no sum, whichever process counted what.
_BY_HAND = (
    "rate(auth_qr_success_total[5m]) / rate(auth_qr_start_total[5m])",
    "rate(auth_qr_expired_total[5m]) / rate(auth_qr_published_total[5m])",
    "rate(floodwait_total[5m]) / rate(requests_total[5m])",
    "histogram_quantile(0.95, rate(session_cleanup_duration_seconds_bucket[5m]))",
)


@pytest.fixture(scope="module")
def prometheus(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """The production form's configuration, with this stack's addresses, a second's interval, and no patience."""
    folder = tmp_path_factory.mktemp("prometheus")
    with watching(stack, command=program("prometheus"), folder=folder, patient=False) as prometheus:
        yield prometheus


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

    with contextlib.suppress(AssertionError):
        wait_until(lambda: not unanswered(), within_seconds=20, every_seconds=0.5)
    assert unanswered() == []
