"""What a noisy tenant costs its neighbours: another tenant's calls, alone and beside somebody who asks for all that he can get.

The noisy one validates fourteen sessions in a loop, lists, leases and starts logins as fast as it is answered, and keeps
streams open; it runs in a process of its own, on the default limits. The neighbour reads a login, starts one, and has a session
validated, a few times a second, as applications do.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests

from bench.figures import Figure, at_most, p95
from devstack.running import RunningStack, running_stack
from sandbox.driver import SandboxDriver

_SESSIONS = 14
_STREAMS = 100
_ROUNDS = 60
_PAUSE_SECONDS = 0.15
_VALIDATIONS = 12
_LOOK_SECONDS = 0.03
"""Between two looks at whether a validation is done: all of them together stay below what a tenant may read in a minute."""


class Tenant:
    """A tenant with a key of its own."""

    def __init__(self, web: str, key: str) -> None:
        self.web = web
        self.key = key
        self._http = requests.Session()
        self._http.headers["Authorization"] = f"Bearer {key}"

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Call the API."""
        return self._http.request(method, self.web + path, timeout=60, **options)

    def connect(self, telegram: SandboxDriver) -> str:
        """Log a new account in; the session's id."""
        account, login = telegram.create_account(), self.call("POST", "/v1/logins", json={}).json()
        while login["status"] != "authorized":
            if login.get("qr") and login["status"] == "waiting_for_scan":
                with contextlib.suppress(Exception):
                    telegram.scan(account["id"], login["qr"]["url"])
            login = self.call("GET", f"/v1/logins/{login['id']}?wait=5&version={login['version']}").json()
        session_id: str = login["session_id"]
        return session_id


def run() -> dict[str, Figure]:
    """All figures, by name."""
    with tempfile.TemporaryDirectory(prefix="latchkey-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with running_stack(folder, without=("flower", "exporter", "s3")) as stack:
            return _measure(stack)


def _measure(stack: RunningStack) -> dict[str, Figure]:
    description = stack.description
    telegram = SandboxDriver(description["sandbox"])
    noisy, quiet = (_make_tenant(description, name) for name in ("noisy", "quiet"))
    sessions = [noisy.connect(telegram) for _ in range(_SESSIONS)]
    mine = [quiet.connect(telegram) for _ in range(_VALIDATIONS)]
    alone = _latencies(quiet, mine)
    with _noise(noisy, sessions):
        time.sleep(5.0)
        beside = _latencies(quiet, mine)
    figures: dict[str, Figure] = {}
    for call, spent in alone.items():
        before, now = p95(spent) * 1000, p95(beside[call]) * 1000
        figures[f"{call}, p95 beside a noisy tenant"] = at_most(
            1.5, now, "ms", peer="the same, alone", peer_value=before
        )
    return figures


def _make_tenant(description: dict[str, Any], name: str) -> Tenant:
    admin = Tenant(description["web"], description["admin_api_key"])
    admin.call("POST", "/v1/tenants", json={"id": name, "name": name}).raise_for_status()
    scopes = ["logins", "sessions:read", "sessions:open", "sessions:write"]
    made = admin.call("POST", f"/v1/tenants/{name}/api-keys", json={"scopes": scopes})
    made.raise_for_status()
    return Tenant(description["web"], made.json()["key"])


def _latencies(tenant: Tenant, session_ids: list[str]) -> dict[str, list[float]]:
    """Seconds of each call: many reads and starts, paced; a validation from the call until it is seen done."""
    login = tenant.call("POST", "/v1/logins", json={}).json()
    spent: dict[str, list[float]] = {"read a login": [], "start a login": [], "validate a session": []}
    for number in range(_ROUNDS):
        spent["read a login"].append(_seconds(lambda: tenant.call("GET", f"/v1/logins/{login['id']}")))
        if number % 4 == 0:
            spent["start a login"].append(_seconds(lambda: _start_and_cancel(tenant)))
        time.sleep(_PAUSE_SECONDS)
    for session_id in session_ids:
        spent["validate a session"].append(_seconds(lambda session_id=session_id: _validate(tenant, session_id)))  # type: ignore[misc]  # bound
        time.sleep(_PAUSE_SECONDS)
    tenant.call("DELETE", f"/v1/logins/{login['id']}")
    return spent


def _start_and_cancel(tenant: Tenant) -> None:
    answer = tenant.call("POST", "/v1/logins", json={})
    if answer.status_code == 202:
        threading.Timer(0.0, lambda: tenant.call("DELETE", f"/v1/logins/{answer.json()['id']}")).start()


def _validate(tenant: Tenant, session_id: str) -> None:
    before = tenant.call("GET", f"/v1/sessions/{session_id}").json()["last_validated_at"]
    tenant.call("POST", f"/v1/sessions/{session_id}/validate")
    give_up_at = time.monotonic() + 60
    while time.monotonic() < give_up_at:
        if tenant.call("GET", f"/v1/sessions/{session_id}").json()["last_validated_at"] != before:
            return
        time.sleep(_LOOK_SECONDS)


def _seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


@contextlib.contextmanager
def _noise(tenant: Tenant, session_ids: list[str]) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.neighbours_bench", tenant.web, tenant.key, *session_ids]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.kill()


def _make_noise(web: str, key: str, session_ids: list[str]) -> None:
    """Everything at once, until killed."""

    def for_ever(work: Callable[[Tenant], object]) -> None:
        tenant = Tenant(web, key)
        while True:
            answer = work(tenant)
            if isinstance(answer, requests.Response) and answer.status_code == 429:
                time.sleep(0.05)  # not polite: Retry-After says seconds

    def validate_all(tenant: Tenant) -> object:
        answers = [tenant.call("POST", f"/v1/sessions/{session_id}/validate") for session_id in session_ids]
        return answers[-1]

    def lease(tenant: Tenant) -> object:
        path = f"/v1/sessions/{session_ids[0]}/lease"
        answer = tenant.call("POST", path, json={"holder": "noise", "ttl_seconds": 10})
        if answer.status_code == 201:
            tenant.call("DELETE", f"{path}/{answer.json()['lease_id']}")
        return answer

    login = Tenant(web, key).call("POST", "/v1/logins", json={}).json()
    works: list[Callable[[Tenant], object]] = [
        validate_all,
        lease,
        lambda tenant: tenant.call("GET", "/v1/sessions?limit=200"),
        lambda tenant: tenant.call("POST", "/v1/logins", json={}),
    ]
    threads = [threading.Thread(target=for_ever, args=(work,)) for work in works]
    streams = [
        threading.Thread(target=lambda: _hold(Tenant(web, key), f"/v1/logins/{login.get('id')}/events"))
        for _ in range(_STREAMS)
    ]
    for thread in threads + streams:
        thread.start()


def _hold(tenant: Tenant, path: str) -> None:
    with contextlib.suppress(requests.RequestException):
        for _ in tenant.call("GET", path, stream=True).iter_lines():
            pass


if __name__ == "__main__":
    _make_noise(sys.argv[1], sys.argv[2], sys.argv[3:])
