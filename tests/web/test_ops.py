"""For operators: liveness, readiness, metrics, request ids, the access log, the reference."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from flask.testing import FlaskClient
from openapi_spec_validator import validate
from sqlalchemy import text

from app.core import Core
from app.errors import AppError
from app.readiness import Check, Readiness
from devstack.ports import free_port
from devstack.programs import running
from tests.builders import make_core
from tests.waiting import wait_until
from tests.web.callers import Caller, members, problem
from tests.web.conftest import MakeClient
from tests.web.live import Live, server_program
from web.parts import Parts
from web.problems import CODES, STATUSES

NOWHERE = "127.0.0.1:1"


def test_healthz_needs_nothing(make_client: MakeClient) -> None:
    """200 although every dependency is away."""
    client, _ = make_client(database_url=f"postgresql+psycopg2://x@{NOWHERE}/x", redis_url=f"redis://{NOWHERE}/0")
    assert client.get("/healthz").json == {"status": "ok"}


def test_readyz_names_each_dependency(nobody: Caller) -> None:
    """200 when all that is needed answers; workers are named and not needed."""
    answer = nobody.get("/readyz")
    assert answer.status_code == 200
    checks = members(answer)["checks"]
    assert set(checks) == {"postgres", "migrations", "redis", "keys", "login_workers"}
    assert [name for name, check in checks.items() if not check["needed"]] == ["login_workers"]


@pytest.mark.parametrize(
    ("overrides", "down"),
    [
        ({"redis_url": f"redis://{NOWHERE}/0"}, {"redis"}),
        ({"database_url": f"postgresql+psycopg2://x@{NOWHERE}/x"}, {"postgres", "migrations", "keys"}),
    ],
)
def test_readyz_is_503_while_something_needed_is_down(
    make_client: MakeClient, overrides: dict[str, str], down: set[str]
) -> None:
    """A problem with the same checks, none of which names an address."""
    client, _ = make_client(**overrides)
    told = problem(client.get("/readyz"), 503, "not_ready")
    assert {name for name, check in told["checks"].items() if check["needed"] and not check["ok"]} == down
    assert NOWHERE not in json.dumps(told["checks"])


def test_a_real_server_is_ready(live: Live) -> None:
    """On greenlets too."""
    assert requests.get(live.url + "/readyz", timeout=10).status_code == 200


def test_a_server_with_a_senseless_setting_ends_with_one_line(live: Live, tmp_path: Path) -> None:
    """The line names the setting; no traceback of the server's."""
    program = server_program(
        live.core.settings, port=free_port(), folder=tmp_path, environment={"TELEGRAM_API_ID": "x"}
    )
    ended = subprocess.run(
        program.command,
        cwd=program.folder,
        env=program.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode != 0
    [line] = ended.stderr.strip().splitlines()
    assert line.startswith("latchkey: TELEGRAM_API_ID: ")


def test_readyz_is_503_before_migrations(make_client: MakeClient, core: Core) -> None:
    """A database that lacks a migration is not served; one that is ahead is, while a new version rolls out."""
    client, _ = make_client()
    with core.transaction() as db:
        head = db.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    try:
        for revision, status in (("9999", 200), (None, 503)):
            with core.transaction() as db:
                db.execute(text("DELETE FROM alembic_version"))
                if revision:
                    db.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": revision})
            answer = client.get("/readyz")
            assert (answer.status_code, members(answer)["checks"]["migrations"]["ok"]) == (status, status == 200)
    finally:
        with core.transaction() as db:
            db.execute(text("DELETE FROM alembic_version"))
            db.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": head})


def test_readiness_is_bounded_and_asks_a_hanging_dependency_once() -> None:
    """A dependency that hangs costs the limit, not more threads with each look."""
    asked: list[float] = []

    def hang() -> str:
        asked.append(time.monotonic())
        time.sleep(1.0)  # the dependency, not the test
        return "late"

    readiness = Readiness({"slow": Check(hang), "quick": Check(lambda: "ok")}, limit_seconds=0.1)
    started = time.monotonic()
    for _ in range(3):
        ready, found = readiness.look()
        assert not ready
        assert found["quick"]["ok"]
    assert time.monotonic() - started < 0.9
    assert len(asked) == 1


def test_readiness_tells_no_old_news() -> None:
    """An answer that came after the limit, good or bad, does not count for the next look."""
    release_session = threading.Event()
    asked: list[str] = []

    def ask() -> str:
        asked.append("")
        release_session.wait(10.0)
        return f"answer {len(asked)}"

    readiness = Readiness({"slow": Check(ask)}, limit_seconds=0.2)
    assert readiness.look()[1]["slow"]["found"] == "no answer within 0.2 s"
    release_session.set()
    assert wait_until(lambda: readiness.look()[1]["slow"]["ok"])
    assert readiness.look()[1]["slow"]["found"] == f"answer {len(asked)}"
    assert len(asked) > 1


def test_metrics_count_requests_by_route(alice: Caller, core: Core) -> None:
    """Routes and tenants are labels; ids, paths and made-up methods are not."""
    login = alice.start_login()
    alice.get(f"/v1/logins/{login['id']}")
    alice.get("/nowhere/at/all")
    alice.call("BREW", "/healthz")
    told = alice.get("/metrics").text
    assert 'latchkey_http_requests_total{method="GET",route="/v1/logins/<id:login_id>",status="200"} 1.0' in told
    assert 'latchkey_http_requests_total{method="GET",route="none",status="404"} 1.0' in told
    assert 'method="other"' in told
    assert 'telethon_auth_qr_start_total{tenant_id="alice"} 1.0' in told
    assert 'telethon_logins_pending{tenant_id="alice"} 1.0' in told
    assert login["id"] not in told
    assert "nowhere" not in told


def test_metrics_of_several_processes_are_counted_once(live: Live, tmp_path: Path) -> None:
    """Two processes behind one port: a scrape of either shows the sum, and the database's gauges once."""
    port = free_port()
    settings = live.core.settings
    program = server_program(settings, port=port, folder=tmp_path, environment={"WEB_CONCURRENCY": "2"})
    core = make_core(settings)
    url = f"http://127.0.0.1:{port}"
    with running(program):
        for _ in range(20):  # a connection of its own for each, so that both processes get some
            assert requests.post(url + "/v1/logins", json={}, headers=dict(live.headers), timeout=10).status_code == 202
        text = requests.get(url + "/metrics", timeout=10).text
    core.engine.dispose()
    assert 'telethon_auth_qr_start_total{tenant_id="alice"} 20.0' in text
    assert len(re.findall(r'^telethon_logins_pending\{tenant_id="alice"\}', text, re.MULTILINE)) == 1
    assert len(re.findall(r'^telethon_auth_qr_start_total\{tenant_id="alice"\}', text, re.MULTILINE)) == 1


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("PATCH", "/v1/logins", 405, "method_not_allowed"),
        ("POST", "/healthz", 405, "method_not_allowed"),
    ],
)
def test_flasks_own_errors_are_problems(nobody: Caller, method: str, path: str, status: int, code: str) -> None:
    """Unknown paths and methods too."""
    answer = nobody.call(method, path)
    problem(answer, status, code)
    assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"GET /v1/sessions?cursor=" + b"x" * 5000 + b" HTTP/1.1\r\n", 414, "uri_too_long"),
        (b"GET /healthz HTTP/1.1\r\nAuthorization: Bearer " + b"x" * 9000 + b"\r\n", 431, "headers_too_large"),
        (b"POST /v1/logins HTTP/1.1\r\nContent-Length: many\r\n", 400, "bad_request"),
        (b"not http at all\r\n", 400, "bad_request"),
    ],
)
def test_what_the_server_itself_refuses_is_a_problem(live: Live, head: bytes, status: int, code: str) -> None:
    """Also a request that never gets as far as a view; what was sent is not repeated."""
    address = urlsplit(live.url)
    with socket.create_connection((str(address.hostname), address.port), timeout=10) as connection:
        connection.sendall(head + b"Host: localhost\r\n\r\n")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        told = json.loads(answer.read())
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert (told["status"], told["code"]) == (status, code)
    assert told["type"].endswith(f"/docs#problem-{code}")
    assert told["request_id"] == answer.headers["X-Request-Id"]
    assert "xxx" not in json.dumps(told)


def test_an_unexpected_error_is_a_problem_without_details(web: tuple[FlaskClient, Parts]) -> None:
    """500 says nothing but the request's id; the log has the rest."""
    client, _ = web
    app = client.application
    app.config["PROPAGATE_EXCEPTIONS"] = False

    def broken() -> str:
        raise ZeroDivisionError("division")

    app.view_functions["ops.healthz"] = broken
    told = problem(client.get("/healthz"), 500, "internal_error")
    assert "division" not in json.dumps(told)


def test_a_request_id_is_kept_or_made(nobody: Caller) -> None:
    """A sane X-Request-Id comes back; anything else is replaced."""
    assert nobody.get("/healthz", X_Request_Id="abc-123").headers["X-Request-Id"] == "abc-123"
    for bad in ("", "a b", "x" * 81, 'a"b'):
        assert nobody.get("/healthz", X_Request_Id=bad).headers["X-Request-Id"].startswith("req_")


def test_the_access_log_has_no_secrets(live: Live) -> None:
    """A line per request with route, status and tenant; no query, header or body, nor a secret in a wrong path."""
    login = live.start_login(metadata={"order": "top-secret-order"})
    secret, mine = login["client_secret"], {"X-Request-Id": "of-this-test"}
    asked = f"{live.url}/v1/logins/{login['id']}"
    requests.get(f"{asked}?version=12345", headers={"Login-Secret": secret, **mine}, timeout=10)
    requests.get(f"{live.url}/{secret}", headers=mine, timeout=10)
    requests.get(asked, headers={**live.headers, **mine}, timeout=10)

    def written() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in live.log.read_text().splitlines() if "of-this-test" in line]
        return lines if len(lines) >= 3 else []

    lines = wait_until(written)  # a line is written when its answer has gone out
    assert [(line["event"], line["route"], line["status"]) for line in lines] == [
        ("request", "/v1/logins/<id:login_id>", 200),
        ("request", "none", 404),
        ("request", "/v1/logins/<id:login_id>", 200),
    ]
    assert lines[2]["tenant_id"] == "alice"
    text = live.log.read_text()
    for hidden in (secret, live.headers["Authorization"].partition(" ")[2], "12345", "top-secret-order"):
        assert hidden not in text


def test_the_reference_is_valid_and_agrees_with_the_routes(nobody: Caller, web: tuple[FlaskClient, Parts]) -> None:
    """OpenAPI 3.1, with every route of version 1, its key, and problems as its errors."""
    document = members(nobody.get("/openapi.json"))
    validate(document)
    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    for rule in web[0].application.url_map.iter_rules():
        if rule.rule.startswith("/v1/"):
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                assert (path, method.lower()) in described
                assert document["paths"][path][method.lower()]["security"]
    start = document["paths"]["/v1/logins"]["post"]
    assert set(start["responses"]) == {
        "200",
        "202",
        *["400", "401", "403", "404", "408", "409", "413", "415", "422", "429", "503"],
    }
    assert {"Login", "Session", "Problem"} <= set(document["components"]["schemas"])
    assert "{'" not in json.dumps(document)


def test_the_reference_page_needs_no_network(nobody: Caller) -> None:
    """Every operation and every problem is on it, and nothing is loaded."""
    page = nobody.get("/docs")
    assert page.status_code == 200
    assert page.text.count("<script") == 1, "its own, under its nonce"
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page.text)
    for code in CODES:
        assert f'id="problem-{code}"' in page.text
    assert "/v1/logins/{login_id}/events" in page.text


def test_every_code_has_its_line_and_its_status() -> None:
    """Each stable code that app raises towards callers is in the reference, under the status that it answers with."""
    from web.problems import CODES

    source = "\n".join(path.read_text() for path in (Path(__file__).parents[2] / "app").rglob("*.py"))
    for kind, code in re.findall(r'raise (\w+)\((?:[^()]|\([^()]*\))*?code="(\w+)"', source):
        assert code in CODES, code
        statuses = [status for error, status in STATUSES.items() if error.__name__ == kind]
        assert statuses in ([], [CODES[code][0]]), code


def test_every_error_has_a_status() -> None:
    """The table covers the tree."""
    assert STATUSES[AppError] == 500
    for error in STATUSES:
        if error.code in CODES:
            assert CODES[error.code][0] == STATUSES[error], error
