"""The metrics address: what operators ask is there and nowhere else, and nothing else is there."""

from __future__ import annotations

from pathlib import Path

import requests

from devstack.ports import free_port
from devstack.programs import running
from tests.web.live import Live, server_program


def test_metrics_are_on_the_metrics_address_only(live: Live, tmp_path: Path) -> None:
    """/metrics is 404 on the public address; /readyz says no more than its status there; the API is on no other."""
    public, operators = free_port(), free_port()
    environment = {"METRICS_PORT": str(operators), "METRICS_HOST": "127.0.0.1"}
    program = server_program(live.core.settings, port=public, folder=tmp_path, environment=environment)

    def get(port: int, path: str) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{port}{path}", headers=dict(live.headers), timeout=10)

    with running(program):
        assert get(public, "/metrics").status_code == 404
        assert get(public, "/readyz?verbose").json() == {"status": "ready", "checks": {}}
        assert get(public, "/v1/sessions").status_code == 200
        assert "latchkey_http_requests_total" in get(operators, "/metrics").text
        assert get(operators, "/readyz?verbose").json()["checks"]["postgres"]["ok"]
        assert get(operators, "/healthz").status_code == 200
        for path in ("/v1/sessions", "/openapi.json", "/login/lgn_x", "/"):
            assert get(operators, path).status_code == 404, path
