"""A worker that is up and takes nothing is noticed by its health check."""

from __future__ import annotations

import socket

import requests
from celery import Celery

from tests.stack.city import City
from tests.waiting import wait_until


def test_a_worker_that_lost_its_queue_is_not_ready(city: City) -> None:
    """It answers, tells its metrics, and says what is wrong; it is ready again once it consumes."""
    address = city.stack.description["worker_metrics"][1].removesuffix("/metrics")
    control = Celery(broker=city.stack.description["redis_url"], set_as_current=False).control
    worker = f"worker-logins-2@{socket.gethostname()}"

    def readiness() -> tuple[int, str]:
        answer = requests.get(f"{address}/readyz", timeout=10)
        return answer.status_code, answer.json()["checks"]["consuming"]["found"]

    wait_until(lambda: readiness() == (200, "takes from logins"))
    control.cancel_consumer("logins", destination=[worker])
    try:
        wait_until(lambda: readiness()[0] == 503)
        assert readiness()[1] == "It does not consume from logins."
        assert requests.get(f"{address}/healthz", timeout=10).status_code == 200
        assert "telethon_requests_total" in requests.get(f"{address}/metrics", timeout=10).text
    finally:
        control.add_consumer("logins", destination=[worker])
    wait_until(lambda: readiness()[0] == 200)
