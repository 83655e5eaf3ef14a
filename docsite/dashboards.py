"""Pictures of the dashboards: a whole stack in use for some minutes, watched by a real Prometheus, drawn from its answers.

    make pictures

There is no Grafana in Debian's, Python's or npm's packages: see ``docsite.charts`` for what is drawn instead. Needs Prometheus
(`make prometheus`).
"""

from __future__ import annotations

import itertools
import random
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from deploy.dashboards import DASHBOARDS
from deploy.panels import Panel, filled_in
from devstack.ports import HOST
from devstack.running import RunningStack, running_stack
from devstack.watching import Prometheus, find_program, watching
from docsite.charts import Series, draw
from sandbox.driver import SandboxDriver, SandboxRefusedError

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "dashboards"

_PEOPLE = 6
_TENANTS = {"demo": 5, "acme": 3, "globex": 1}
_PASSWORD = "correct horse battery staple"  # noqa: S105  # made up, for the sandbox's phones
_SETTINGS = {
    "QR_TTL_SECONDS": "30",
    "QR_POLL_SECONDS": "2",
    "VALIDATION_INTERVAL_SECONDS": "20",
    "BACKUP_INTERVAL_SECONDS": "20",
    "LOGIN_RATE_PER_MINUTE": "100000",
    "STRICT_RATE_PER_MINUTE": "100000",
    "READ_RATE_PER_MINUTE": "100000",
    "OPEN_RATE_PER_MINUTE": "100000",
}
_SAMPLES = 120


class Town:
    """People who log in, and applications that use their sessions: every end that a login has, now and then."""

    def __init__(self, stack: RunningStack) -> None:
        described = stack.description
        self._web: str = described["web"]
        self._telegram = SandboxDriver(described["sandbox"])
        self._random = random.Random(7)  # noqa: S311  # a town that is the same each time
        self._over = threading.Event()
        self._keys = {"demo": str(described["api_key"])}
        for tenant in _TENANTS:
            if tenant != "demo":
                self._keys[tenant] = self._settle(tenant, admin_key=described["admin_api_key"])

    def live(self, seconds: float) -> None:
        """Live for a while."""
        with _receiver() as url, ThreadPoolExecutor(_PEOPLE + 1) as threads:
            self._call("acme", "POST", "/v1/webhooks", {"url": url})
            lives = [threads.submit(self._live, number) for number in range(_PEOPLE)]
            lives.append(threads.submit(self._trouble))
            self._over.wait(seconds)
            self._over.set()
            for life in lives:
                life.result()

    def _live(self, number: int) -> None:
        for turn in itertools.count(number):
            if self._over.wait(self._random.uniform(0.1, 1.5)):
                return
            tenant = self._random.choices(list(_TENANTS), list(_TENANTS.values()))[0]
            self._log_in(tenant, how=turn % 12)

    def _log_in(self, tenant: str, *, how: int) -> None:
        """Log somebody in. Most scan; some have a password, and a few of those give up; some never scan, or cancel."""
        account = self._telegram.create_account(
            dc_id=self._random.choice([2, 2, 2, 1]), **({"password": _PASSWORD} if how % 3 == 0 else {})
        )
        expected = {"telegram_user_id": account["id"] + 1} if how == 7 else {}
        login_id = self._call(tenant, "POST", "/v1/logins", expected)["id"]
        with requests.get(
            f"{self._web}/v1/logins/{login_id}/events", headers=self._key(tenant), stream=True, timeout=30
        ) as _page:  # as a browser has it open
            self._go_on(tenant, login_id, account, how=how)

    def _go_on(self, tenant: str, login_id: str, account: dict[str, Any], *, how: int) -> None:
        shown = self._wait(tenant, login_id, "waiting_for_scan")
        if how == 4:
            self._over.wait(5)
            return
        if how == 8:
            self._call(tenant, "DELETE", f"/v1/logins/{login_id}")
            return
        try:
            self._telegram.scan(account["id"], shown["qr"]["url"])
        except (SandboxRefusedError, KeyError, TypeError):
            return  # they came too late for this code
        if how % 3 == 0:
            if self._wait(tenant, login_id, "password_required")["status"] != "password_required" or how == 9:
                return
            self._type(tenant, login_id, *(["the wrong one", _PASSWORD] if how == 6 else [_PASSWORD]))
        self._use(tenant, self._wait(tenant, login_id, "authorized").get("session_id"))

    def _type(self, tenant: str, login_id: str, *passwords: str) -> None:
        for password in passwords:
            asked = self._call(tenant, "POST", f"/v1/logins/{login_id}/password", {"password": password})
            # The next one is for the next question.
            self._call(tenant, "GET", f"/v1/logins/{login_id}?wait=5&version={asked.get('version', 0)}")

    def _use(self, tenant: str, session_id: str | None) -> None:
        if session_id is None:
            return
        leased = self._call(tenant, "POST", f"/v1/sessions/{session_id}/lease", {"holder": "bot", "ttl_seconds": 10})
        self._call(tenant, "POST", f"/v1/sessions/{session_id}/lease", {"holder": "another", "ttl_seconds": 10})
        if "lease_id" in leased:
            self._call(tenant, "DELETE", f"/v1/sessions/{session_id}/lease/{leased['lease_id']}")
        if self._random.random() < 0.2:
            self._call(tenant, "DELETE", f"/v1/sessions/{session_id}")

    def _trouble(self) -> None:
        """Telegram has its moments: flood waits, refusals, lost connections."""
        moments: tuple[dict[str, Any], ...] = (
            {"method": "auth.exportLoginToken", "error": "FLOOD_WAIT_3", "times": 2},
            {"method": "users.getUsers", "delay_ms": 1500, "times": 4},
            {"method": "auth.exportLoginToken", "drop_connection": True, "times": 3},
            {"method": "auth.checkPassword", "error": "FLOOD_WAIT_2", "times": 1},
            {"method": "auth.exportLoginToken", "error": "API_ID_INVALID", "times": 1},
            {"method": "users.getUsers", "error": "USER_DEACTIVATED_BAN", "times": 1},
        )
        for moment in itertools.cycle(moments):
            if self._over.wait(12):
                return
            self._telegram.add_fault(**moment)

    def _wait(self, tenant: str, login_id: str, status: str) -> dict[str, Any]:
        """Wait for a status, or an end."""
        login: dict[str, Any] = {}
        while login.get("status") not in {status, "authorized", "failed", "expired", "cancelled"}:
            if self._over.is_set():
                return login | {"status": "unknown"}
            query = f"?wait=2&version={login.get('version', 0)}"
            login = self._call(tenant, "GET", f"/v1/logins/{login_id}{query}")
        return login

    def _settle(self, tenant: str, *, admin_key: str) -> str:
        self._ask(admin_key, "POST", "/v1/tenants", {"id": tenant, "name": tenant.title()})
        scopes = ["logins", "sessions:read", "sessions:open", "sessions:write", "webhooks"]
        made = self._ask(admin_key, "POST", f"/v1/tenants/{tenant}/api-keys", {"name": "town", "scopes": scopes})
        return str(made["key"])

    def _key(self, tenant: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._keys[tenant]}"}

    def _call(self, tenant: str, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._ask(self._keys[tenant], method, path, body)

    def _ask(self, key: str, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {key}"}
        answer = requests.request(method, self._web + path, json=body, headers=headers, timeout=30)
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found


@contextmanager
def _receiver() -> Iterator[str]:
    """Takes webhooks, and refuses each fifth."""
    numbers = itertools.count(1)

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200 if next(numbers) % 5 else 503)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name for it
            """Say nothing."""

    server = ThreadingHTTPServer((HOST, 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{HOST}:{server.server_port}/hooks"
    finally:
        server.shutdown()
        server.server_close()


def answers_of(prometheus: Prometheus, panel: Panel, *, start: float, end: float) -> list[Series]:
    """What a panel shows of the time from start to end, in Unix seconds."""
    found: list[Series] = []
    shown = f"{round(end - start)}s"
    for legend, query in panel.queries.items():
        asked = filled_in(query, rate="30s", shown=shown)
        if panel.kind == "timeseries":
            series = prometheus.ask_over(asked, start=start, end=end, step_seconds=(end - start) / _SAMPLES)
        else:
            series = [{**each, "values": [each["value"]]} for each in prometheus.ask(asked)]
        found += [Series(_named(legend, each["metric"]), _points(each["values"])) for each in series]
    return found


def _named(legend: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)}}", lambda match: labels.get(match[1], ""), legend)


def _points(values: list[list[Any]]) -> list[tuple[float, float]]:
    return [(float(moment), float(value)) for moment, value in values]


def main() -> int:
    """Run the command and return its exit status."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 6.0
    command = find_program("prometheus")
    if command is None:
        sys.stderr.write("There is no prometheus: `make prometheus` unpacks Debian's.\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="latchkey-dashboards-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # a run as root hands PostgreSQL to an account that has to walk through
        (folder / "prometheus").mkdir()
        with (
            running_stack(
                folder / "stack", login_workers=2, settings=_SETTINGS, without=("exporter", "flower")
            ) as stack,
            watching(stack, command=command, folder=folder / "prometheus", every_seconds=3) as prometheus,
        ):
            start = time.time()
            Town(stack).live(minutes * 60)
            end = time.time()
            PICTURES.mkdir(exist_ok=True)
            for dashboard in DASHBOARDS:
                answers = {
                    panel.title: answers_of(prometheus, panel, start=start, end=end) for panel in dashboard.panels
                }
                (PICTURES / f"{dashboard.name}.svg").write_text(draw(dashboard, answers, shown=(start, end)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
