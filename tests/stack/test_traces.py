"""One login, from its request to Telegram and back: every log line and every span of it is found by its id."""

from __future__ import annotations

import json
import re
import signal
from typing import Any

from tests.collector import Collector, Span
from tests.stack.city import City
from tests.waiting import wait_until

_PASSWORD = "another-password-that-nobody-has-2903"


def _lines(city: City) -> list[dict[str, Any]]:
    """Every structured line of every process of ours, in the order of time."""
    lines: list[dict[str, Any]] = []
    for log in (city.stack.folder / "logs").glob("*.log"):
        lines += [json.loads(line) for line in log.read_text(errors="replace").splitlines() if line.startswith("{")]
    return sorted(lines, key=lambda line: str(line.get("timestamp")))


def _run(city: City, **headers: str) -> tuple[str, dict[str, Any]]:
    """Log somebody with a password in; the login's id, and its end."""
    account = city.telegram.create_account(password=_PASSWORD)
    answer = city.call("POST", "/v1/logins", json={}, headers=headers)
    assert answer.status_code == 202, answer.text
    login_id = answer.json()["id"]
    city.telegram.scan(account["id"], city.wait_for_qr(login_id))
    city.wait_for(login_id, "password_required")
    city.call("POST", f"/v1/logins/{login_id}/password", json={"password": _PASSWORD})
    return login_id, city.wait_for(login_id, "authorized")


def _owner(city: City, login_id: str) -> str:
    """The name of the worker that drives a login."""
    return str(city.rows([login_id])[login_id]["owner"]).partition("@")[0]


def _runs(collector: Collector, login_id: str, *, count: int) -> list[Span]:
    """The runs of a login's task, once all have ended and were exported."""

    def look() -> list[Span]:
        runs = [each for each in collector.about(login_id=login_id) if each.name == "run/latchkey.run_qr_login"]
        return runs if len(runs) >= count else []

    return wait_until(look, within_seconds=20)


def test_a_login_is_one_trace(city: City, collector: Collector) -> None:
    """Request, message, task, each call to Telegram with its method, what the stores were asked: all in one tree."""
    city.telegram.add_fault(method="auth.exportLoginToken", error="FLOOD_WAIT_1", times=1)
    login_id, _ = _run(city)
    (trace_id,) = {span.trace_id for span in _runs(collector, login_id, count=2)}
    wait_until(lambda: any(span.kind == "SERVER" for span in collector.trace(trace_id)), within_seconds=20)
    spans = collector.trace(trace_id)
    by_id = {span.span_id: span for span in spans}

    (root,) = [span for span in spans if not span.parent_id]
    assert (root.service, root.kind, root.name) == ("latchkey-web", "SERVER", "POST /v1/logins")
    assert root.attributes["login_id"] == login_id
    assert all(span is root or span.parent_id in by_id for span in spans)
    (sent,) = [span for span in spans if span.name == "send/latchkey.run_qr_login"]
    assert (sent.service, sent.kind, sent.parent_id) == ("latchkey-web", "PRODUCER", root.span_id)

    tasks = [span for span in spans if span.name == "run/latchkey.run_qr_login"]
    assert [each.service for each in tasks] == ["latchkey-worker"] * 2  # the flood wait freed the thread of the first
    assert tasks[0].parent_id == sent.span_id

    calls = [span for span in spans if span.attributes.get("rpc.system") == "mtproto"]
    assert all(span.kind == "CLIENT" and span.name == span.attributes["rpc.method"] for span in calls)
    assert all(by_id[span.parent_id] in tasks for span in calls)
    told = [(span.name, span.error) for span in calls]
    assert ("auth.exportLoginToken", "FLOOD_WAIT_1") in told
    assert told.count(("help.getConfig", None)) >= 2
    answers = {span.attributes.get("telegram.answer") for span in calls if span.error is None}
    assert "SESSION_PASSWORD_NEEDED" in answers
    names = [span.name for span in calls]
    assert names.index("auth.exportLoginToken") < names.index("auth.checkPassword") < names.index("users.getUsers")
    assert {span.attributes.get("db.system") for span in spans} >= {"postgresql", "redis"}


def test_what_is_handed_over_stays_in_its_trace(city: City, collector: Collector) -> None:
    """A login whose worker leaves goes on elsewhere, in the same trace and with the same request's id."""
    answer = city.call("POST", "/v1/logins", json={}, headers={"X-Request-Id": "handed-over-1"})
    login_id = answer.json()["id"]
    city.wait_for_qr(login_id)
    owner = _owner(city, login_id)
    city.kill(owner, signal.SIGTERM)
    wait_until(lambda: _owner(city, login_id) != owner, within_seconds=20)
    city.telegram.scan(city.telegram.create_account()["id"], city.wait_for_qr(login_id))
    city.wait_for(login_id, "authorized")
    runs = _runs(collector, login_id, count=2)
    assert len({span.trace_id for span in runs}) == 1
    assert {span.attributes["request_id"] for span in runs} == {"handed-over-1"}
    workers = {line["process"] for line in _lines(city) if line.get("login_id") == login_id} - {"web"}
    assert len(workers) == 2


def test_every_line_of_a_login_is_found(city: City) -> None:
    """By the login's id: the request that started it, its task, Telegram's side, the session. By its key: the same."""
    login_id, ended = _run(city, **{"Idempotency-Key": "order-7121", "X-Request-Id": "req-of-7121"})
    repeated = city.call("POST", "/v1/logins", json={}, headers={"Idempotency-Key": "order-7121"})
    assert repeated.json()["id"] == login_id
    wait_until(lambda: sum(line.get("idempotency_key") == "order-7121" for line in _lines(city)) >= 5)
    by_login = [line for line in _lines(city) if line.get("login_id") == login_id]
    by_key = [line for line in _lines(city) if line.get("idempotency_key") == "order-7121"]

    assert next((line["event"], line["status"]) for line in by_login if line["process"] == "web") == ("request", 202)
    events = [line["event"] for line in by_login]
    assert "login.qr_published" in events
    (authorized,) = [line for line in by_login if line["event"] == "login.authorized"]
    assert authorized["session_id"] == ended["session_id"]
    assert {line["trace_id"] for line in by_login if line.get("task")} == {authorized["trace_id"]}
    assert authorized["request_id"] == "req-of-7121"
    assert authorized["task"] == "latchkey.run_qr_login"

    assert {line["login_id"] for line in by_key} == {login_id}
    assert {line["event"] for line in by_key} >= {"request", "login.qr_published", "login.authorized"}
    # Only what others asked about it later, by its id, is not its key's.
    rest = [line for line in by_login if line not in by_key]
    assert {line["event"] for line in rest} <= {"request"}
    spoken = {
        line["event"] for line in _lines(city) if login_id in json.dumps(line) and line.get("login_id") != login_id
    }
    assert spoken == set()


def test_spans_carry_nothing_of_a_person(city: City, collector: Collector) -> None:
    """Neither the phone number nor the code, of a login by code; nor our own api_hash, nor what stood in a query."""
    account = city.telegram.create_account()
    phone = account["phone"].lstrip("+")
    started = city.start(method="code", phone=f"+{phone}")
    city.wait_for(started["id"], "code_required")
    (message,) = city.telegram.messages(account["id"])[-1:]
    code = re.search(r"\b\d{5,6}\b", json.dumps(message))
    assert code is not None
    city.call("POST", f"/v1/logins/{started['id']}/code", json={"code": code[0]})
    city.wait_for(started["id"], "authorized")
    city.call("GET", "/v1/sessions?end_user_id=somebody-by-name")
    _runs(collector, started["id"], count=1)
    wait_until(lambda: any(span.attributes.get("http.route") == "/v1/sessions" for span in list(collector.spans)))
    exported = b"".join(collector.received)
    api_hash = re.search(r"^TELEGRAM_API_HASH='?(\w+)", (city.stack.folder / "env").read_text(), re.MULTILINE)
    assert api_hash is not None
    assert b"auth.signIn" in exported
    assert [secret for secret in (phone, api_hash[1], "somebody-by-name") if secret.encode() in exported] == []
    said = {value for span in list(collector.spans) for value in (span.name, *span.attributes.values())}
    assert [value for value in said if re.search(rf"(?<!\w){code[0]}(?!\w)", value)] == []


def test_sweeps_make_no_traces(city: City, collector: Collector) -> None:
    """What beat sends every second is nobody's trace; only requests, messages and their tasks begin one."""
    _run(city)
    roots = [span for span in list(collector.spans) if not span.parent_id]
    assert roots
    assert {span.kind for span in roots} <= {"SERVER", "PRODUCER", "CONSUMER"}
    assert not [
        span.name for span in list(collector.spans) if span.name in {"run/latchkey.sweep_webhooks", "GET /healthz"}
    ]
    assert collector.refused == 0
