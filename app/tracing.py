"""Traces, where ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set: what this code says about its own work.

Without the setting nothing of OpenTelemetry is imported, and a span costs an ``if``. What needs the SDK is ``app.otlp``'s.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from app.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

_tracer: Tracer | None = None  # one per process, as the SDK's own is

Kind = Literal["CLIENT", "PRODUCER"]


class SpanNotes:
    """What can be said about the span that is open; nothing comes of it where nothing is traced."""

    def __init__(self, span: Span | None = None) -> None:
        self._span = span

    def say(self, name: str, value: str | float) -> None:
        """Set an attribute. Never a secret, a name or a number of a person."""
        if self._span is not None:
            self._span.set_attribute(name, value)

    def fail(self, error: str) -> None:
        """Mark the span as failed, by the error's name."""
        if self._span is not None:
            from opentelemetry.trace import StatusCode

            self._span.set_attribute("error.type", error)
            self._span.set_status(StatusCode.ERROR, error)


_NO_NOTES = SpanNotes()


def start_tracing(settings: Settings, *, role: str) -> TracerProvider | None:
    """Send this process's spans to the endpoint, if one is set. Call it after a fork; a repeat changes nothing.

    Args:
        role: ``web`` or ``worker``; the service is called ``latchkey-web`` unless ``OTEL_SERVICE_NAME`` says otherwise.

    Returns:
        What instrumentations take; None: nothing is traced.
    """
    if settings.otel_exporter_otlp_endpoint is None:
        return None
    from app.otlp import provide

    global _tracer  # noqa: PLW0603  # see above
    provider = provide(settings, role=role)
    _tracer = provider.get_tracer("latchkey")
    return provider


@contextlib.contextmanager
def span(name: str, *, kind: Kind, **attributes: str | float) -> Iterator[SpanNotes]:
    """Make a block a span, a child of the one that is open here.

    Args:
        attributes: underscores in their names become dots.
    """
    if _tracer is None:
        yield _NO_NOTES
        return
    from opentelemetry.trace import SpanKind

    with _tracer.start_as_current_span(
        name,
        kind=SpanKind[kind],
        attributes={key.replace("_", "."): value for key, value in attributes.items()},
        record_exception=False,
        set_status_on_exception=False,
    ) as opened:
        yield SpanNotes(opened)


def trace_headers() -> dict[str, str]:
    """The headers (W3C ``traceparent``) by which a message's receiver goes on with the trace that is open here."""
    headers: dict[str, str] = {}
    if _tracer is not None:
        from opentelemetry.propagate import inject

        inject(headers)
    return headers


@contextlib.contextmanager
def outside_of_traces() -> Iterator[None]:
    """Make what a block sends begin traces of its own: for work that looks after everybody's."""
    if _tracer is None:
        yield
        return
    from opentelemetry import context

    token = context.attach(context.Context())
    try:
        yield
    finally:
        context.detach(token)
