"""Traces cost nothing where no endpoint is set, and where one is, the net takes out what must not leave the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, StatusCode

from app.errors import FloodWait
from app.otlp import Redacting, RootsThatSomebodyAskedFor
from app.settings import Settings
from app.telegram.spans import request_span
from app.tracing import outside_of_traces, span, start_tracing, trace_headers
from tests.builders import make_settings

ROOT = Path(__file__).resolve().parent.parent

_WEB = "from web import create_app; create_app()"
_WORKER = (
    "import sys; sys.argv = ['celery', 'worker']; import tasks; tasks.celery_app.loader.import_default_modules(); "
    "from app.dispatch import make_dispatch; from app.telegram.spans import request_span\n"
    "with request_span('auth.exportLoginToken', dc_id=2): pass"
)
_IMPORTED = "\nimport sys; print(sorted({name.split('.')[0] for name in sys.modules} & {'opentelemetry', 'google'}))"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings without an endpoint; no store is asked."""
    return make_settings(
        database_url="postgresql://nobody@127.0.0.1:1/nothing",
        redis_url="redis://127.0.0.1:1/0",
        key_file=tmp_path / "key",
    )


@pytest.mark.parametrize("program", [_WEB, _WORKER], ids=["web", "worker"])
def test_nothing_of_opentelemetry_is_imported_without_an_endpoint(program: str, settings: Settings) -> None:
    """Neither its API nor its SDK nor protobuf: a start takes as long as ever."""
    environment = {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "TELEGRAM_API_ID": "1",
        "TELEGRAM_API_HASH": "0",
        "LOCAL_KEY_FILE": str(settings.local_key_file),
        "OTEL_EXPORTER_OTLP_ENDPOINT": "",
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run(  # noqa: PLW1510  # its return code is looked at below
        [sys.executable, "-c", program + _IMPORTED],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_spans_cost_next_to_nothing_without_an_endpoint(settings: Settings) -> None:
    """What is said of them goes nowhere, messages get no headers, errors pass through as they are."""
    assert start_tracing(settings, role="web") is None
    with span("send/x", kind="PRODUCER") as notes, outside_of_traces():
        notes.say("a", "b")
        notes.fail("c")
        assert trace_headers() == {}
    with pytest.raises(FloodWait), request_span("auth.sendCode", dc_id=2):
        raise FloodWait(method="auth.sendCode", wait_seconds=3)


def test_the_net_takes_out_secrets_and_queries() -> None:
    """From names, attributes, what an error said and the events of exceptions; the rest arrives as it was."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(sampler=ALWAYS_ON)
    provider.add_span_processor(SimpleSpanProcessor(Redacting(kept)))
    secret = "lk_" + "a" * 40
    with provider.get_tracer("test").start_as_current_span(f"call {secret}", kind=SpanKind.SERVER) as opened:
        opened.set_attributes({"http.target": "/v1/sessions?end_user_id=carol", "url.query": "end_user_id=carol"})
        opened.set_attributes({"said": f"tg://login?token={'x' * 40}", "http.status_code": 200})
        opened.record_exception(RuntimeError(f"with {secret}"))
        opened.set_status(StatusCode.ERROR, f"because of {secret}")
    (arrived,) = kept.get_finished_spans()
    assert arrived.name == "call [redacted]"
    assert arrived.attributes == {"http.target": "/v1/sessions", "said": "[redacted]", "http.status_code": 200}
    assert (arrived.status.status_code, arrived.status.description) == (StatusCode.ERROR, "because of [redacted]")
    assert secret not in arrived.to_json()
    (event,) = arrived.events
    assert event.attributes is not None
    assert event.attributes["exception.message"] == "with [redacted]"


@pytest.mark.parametrize(
    ("name", "kind", "begins"),
    [
        ("POST /v1/logins", SpanKind.SERVER, True),
        ("run/latchkey.run_qr_login", SpanKind.CONSUMER, True),
        ("run/latchkey.sweep_webhooks", SpanKind.CONSUMER, False),
        ("SELECT latchkey", SpanKind.CLIENT, False),
    ],
)
def test_only_what_somebody_asked_for_begins_a_trace(name: str, kind: SpanKind, *, begins: bool) -> None:
    """And below such a beginning everything is kept."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(sampler=RootsThatSomebodyAskedFor(ALWAYS_ON))
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span(name, kind=kind), tracer.start_as_current_span("below", kind=SpanKind.CLIENT):
        pass
    assert [each.name for each in kept.get_finished_spans()] == (["below", name] if begins else [])
