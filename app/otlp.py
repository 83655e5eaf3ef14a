"""OpenTelemetry's SDK: which spans are kept, what is taken out of them, where they go.

Imported only where an endpoint is set: see ``app.tracing``. Spans never carry secrets: nobody puts one in, and a net takes out
what has a secret's shape, and every query string.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import redis
import redis.asyncio
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Span as AnySpan
from opentelemetry.trace import SpanKind, Status, get_current_span
from opentelemetry.util.re import parse_env_headers
from sqlalchemy import Engine

from app.correlation import correlate, correlation
from app.logs import redact
from app.periodic import PERIODIC_TASKS
from app.settings import Settings

_NOT_ROOTS = frozenset(f"run/{task}" for task in PERIODIC_TASKS)
_WITH_QUERY = frozenset({"http.target", "http.url", "url.full"})
_LEFT_OUT = frozenset({"url.query"})


def provide(settings: Settings, *, role: str) -> TracerProvider:
    """This process's provider of tracers, made once."""
    headers = settings.otel_exporter_otlp_headers
    return _provide(
        endpoint=f"{str(settings.otel_exporter_otlp_endpoint).rstrip('/')}/v1/traces",
        headers=headers.get_secret_value() if headers is not None else "",
        service=settings.otel_service_name or f"latchkey-{role}",
    )


@cache
def _provide(*, endpoint: str, headers: str, service: str) -> TracerProvider:
    instance = {"service.name": service, "service.instance.id": f"{socket.gethostname()}:{os.getpid()}"}
    provider = TracerProvider(resource=Resource.create(instance))
    provider.sampler = RootsThatSomebodyAskedFor(provider.sampler)  # the inner one is OTEL_TRACES_SAMPLER's
    provider.add_span_processor(_Correlate())
    exporter = OTLPSpanExporter(endpoint=endpoint, headers=parse_env_headers(headers, liberal=True))
    provider.add_span_processor(BatchSpanProcessor(Redacting(exporter)))
    return provider


def trace_stores(
    provider: TracerProvider, *, engine: Engine, clients: Sequence[redis.Redis | redis.asyncio.Redis]
) -> None:
    """Make spans of a process's statements and Redis commands, without their values: those stay out by themselves."""
    instrumentor = SQLAlchemyInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        # It asks for an SQLAlchemy before 2.1; what it does here is tested with ours (tests/stack/test_traces.py).
        instrumentor.instrument(engine=engine, tracer_provider=provider, skip_dep_check=True)
    for client in clients:
        RedisInstrumentor.instrument_client(client, tracer_provider=provider)


def note_trace(opened: AnySpan) -> None:
    """Have the log's lines name the trace of a span."""
    if (found := opened.get_span_context()).is_valid:
        correlate(trace_id=f"{found.trace_id:032x}")


def note_correlation(opened: AnySpan | None = None) -> None:
    """Say on a span (by default the one that is open) what is known by now of the work that it is part of."""
    (opened or get_current_span()).set_attributes(_attributes())


def _attributes() -> dict[str, str]:
    return {name: value for name, value in correlation().items() if name != "trace_id"}


class _Correlate(SpanProcessor):
    """Says on every span what its log lines say: ``login_id``, ``request_id``, …"""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        span.set_attributes(_attributes())


class RootsThatSomebodyAskedFor(Sampler):
    """Begins traces for requests and tasks; not for sweeps, which come every second, nor for what background loops do."""

    def __init__(self, chosen: Sampler) -> None:
        self._chosen = chosen

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Mapping[str, Any] | None = None,
        *others: Any,
        **more: Any,
    ) -> SamplingResult:
        """Decide."""
        parent = get_current_span(parent_context).get_span_context()
        unasked = name in _NOT_ROOTS or kind in {SpanKind.CLIENT, SpanKind.INTERNAL, None}
        below_nothing = not (parent.is_remote or parent.trace_flags.sampled)
        if below_nothing if parent.is_valid else unasked:
            return SamplingResult(Decision.DROP)
        return self._chosen.should_sample(parent_context, trace_id, name, kind, attributes, *others, **more)

    def get_description(self) -> str:
        """Name it."""
        return f"RootsThatSomebodyAskedFor({self._chosen.get_description()})"


class Redacting(SpanExporter):
    """Takes out of each span what must not leave the process, and passes it on."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export the spans, cleaned."""
        return self._inner.export([_clean(span) for span in spans])

    def shutdown(self) -> None:
        """End the inner exporter."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits here."""
        return self._inner.force_flush(timeout_millis)


def _clean(span: ReadableSpan) -> ReadableSpan:
    described = span.status.description
    return ReadableSpan(
        name=redact(span.name),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_clean_attributes(span.attributes),
        events=[Event(each.name, _clean_attributes(each.attributes), each.timestamp) for each in span.events],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code, redact(described)) if described else span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _clean_attributes(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    found = {name: value for name, value in (attributes or {}).items() if name not in _LEFT_OUT}
    for name, value in found.items():
        if isinstance(value, str):
            found[name] = redact(value.partition("?")[0] if name in _WITH_QUERY else value)
    return found
