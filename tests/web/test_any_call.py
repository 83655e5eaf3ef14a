"""Calls that nobody thought of: made by Schemathesis from the OpenAPI document, alone and in chains, all its checks on.

A real server, and a key with every scope. Left out are the two streams, which do not end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished

from app.tenants.keys import SCOPES, create_api_key
from devstack.ports import free_port
from devstack.programs import running
from devstack.redis import redis_url as make_redis_url
from tests.builders import make_core, make_settings
from tests.web.live import Live, server_program

SECONDS = 45
# What a field says of itself is not all that it must be: an address, a network, a phone number, a string session. Whoever keeps
# to the document may still hear 422 here.
MEANINGFUL = (
    "PATCH /v1/tenant",
    "PATCH /v1/tenants/{tenant_id}",
    "POST /v1/tenants/{tenant_id}/api-keys",
    "PATCH /v1/tenants/{tenant_id}/api-keys/{key_id}",
    "POST /v1/logins",
    "POST /v1/logins/{login_id}/code",
    "POST /v1/logins/{login_id}/method",
    "POST /v1/sessions",
    "POST /v1/sessions/revoke",
    "POST /v1/sessions/{session_id}/lease",
    "POST /v1/webhooks",
    "PATCH /v1/webhooks/{webhook_id}",
)


@pytest.fixture
def server(
    migrated_database: Callable[[], str], redis_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    """A server of this test's own: it may disable tenants, and revoke its own key."""
    folder, port = tmp_path_factory.mktemp("any-call"), free_port()
    settings = make_settings(
        database_url=migrated_database(),
        redis_url=make_redis_url(redis_port, database=0),
        key_file=folder / "key",
    )
    core = make_core(settings)
    key = create_api_key(core.transaction, actor="test", tenant_id="alice", scopes=SCOPES).key
    program = server_program(settings, port=port, folder=folder, environment={"STRICT_RATE_PER_MINUTE": "100000"})
    with running(program):
        yield Live(f"http://127.0.0.1:{port}", core, program.log, {"Authorization": f"Bearer {key}"})
    core.engine.dispose()
    core.redis.close()


def configure(server: Live) -> SchemathesisConfig:
    """All checks; where a field means more than its schema can say, 422 is no fault."""
    accepted = {"expected-statuses": ["2xx", "3xx", "401", "403", "404", "409", "422", "429"]}
    return SchemathesisConfig.from_dict(
        {
            "headers": dict(server.headers),
            "continue-on-failure": True,
            "max-time": SECONDS,
            # NUL is refused everywhere, which no schema here says.
            "generation": {"max-examples": 8, "no-shrink": True, "deterministic": True, "allow-x00": False},
            # A long poll waits for as long as it is told.
            "parameters": {"query.wait": 0},
            "operations": [
                {"include-name": name, "checks": {"positive_data_acceptance": accepted}} for name in MEANINGFUL
            ],
        }
    )


def test_any_call_is_answered_as_the_document_says(server: Live) -> None:
    """No fault of ours, no answer that is not documented, nothing taken that the document forbids, no way around the key."""
    document = schemathesis.openapi.from_url(f"{server.url}/openapi.json", config=configure(server))
    failures: dict[str, str] = {}
    made: Counter[str] = Counter()
    for event in from_schema(document.exclude(path_regex="/events$")).execute():
        match event:
            case NonFatalError():
                failures[f"{event.info.title}: {event.info.message}"] = ""
            case FatalError():
                failures[repr(event.exception)] = ""
            case ScenarioFinished():
                made[event.phase.name] += len(event.recorder.cases)
                failures |= dict(_failures(event))
    assert not failures, "\n\n".join(f"{what}\n{how}" for what, how in sorted(failures.items()))
    assert made["STATEFUL_TESTING"] > 0
    assert made.total() > 200  # as many as its time allows, on however busy a machine


def _was_too_long(event: ScenarioFinished, case_id: str) -> bool:
    """Whether the server itself refused the address or a header: that comes before any call, and before the document."""
    interaction = event.recorder.interactions.get(case_id)
    answer = interaction.response if interaction is not None else None
    return answer is not None and answer.status_code in (414, 431)


def _failures(event: ScenarioFinished) -> Iterator[tuple[str, str]]:
    """What a check found: the operation with the check's words, and how to see it again."""
    for case_id, checks in event.recorder.checks.items():
        if _was_too_long(event, case_id):
            continue
        for check in checks:
            if check.status == Status.FAILURE and check.failure_info is not None:
                failure, call = check.failure_info.failure, event.recorder.cases[case_id].value
                what = f"{call.operation.label}: {check.name}: {failure.title}: {failure.message}"
                yield what[:500], check.failure_info.code_sample[:1000]
