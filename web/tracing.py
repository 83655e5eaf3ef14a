"""Spans of HTTP requests. Imported by the app factory where something is traced, and nowhere else."""

from __future__ import annotations

from typing import Any

from apiflask import APIFlask
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span

from app.core import Core
from app.otlp import note_correlation, note_trace, trace_stores

_NOT_TRACED = r"/healthz$,/readyz$,/readyz\?,/metrics$"


def trace_requests(app: APIFlask, provider: TracerProvider, core: Core) -> None:
    """Make a span of each request, and spans of what it asks the stores; call after ``install_observation``."""
    trace_stores(provider, engine=core.engine, clients=[core.redis])
    FlaskInstrumentor.instrument_app(  # type: ignore[no-untyped-call]  # theirs
        app,
        tracer_provider=provider,
        excluded_urls=_NOT_TRACED,
        request_hook=_on_request,
        response_hook=_on_response,
        enable_commenter=False,
    )


def _on_request(span: Span, _environ: dict[str, Any]) -> None:
    note_trace(span)


def _on_response(span: Span | None, _status: str, _headers: list[tuple[str, str]]) -> None:
    if span is not None:
        note_correlation(span)  # by now the login that was started has a name
