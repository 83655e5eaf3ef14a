"""An OpenTelemetry collector for tests: takes OTLP over HTTP, and keeps each span and every byte."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from devstack.ports import HOST


@dataclass(frozen=True)
class Span:
    """A span as it arrived."""

    name: str
    service: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    error: str | None
    attributes: dict[str, str]
    began_at: int


@dataclass
class Collector:
    """What arrived. ``token`` is what an exporter has to show."""

    url: str = ""
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    spans: list[Span] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    refused: int = 0

    def about(self, **attributes: str) -> list[Span]:
        """The spans with these attributes, in the order in which they began."""
        found = [span for span in list(self.spans) if attributes.items() <= span.attributes.items()]
        return sorted(found, key=lambda span: span.began_at)

    def trace(self, trace_id: str) -> list[Span]:
        """The spans of a trace, in the order in which they began."""
        return sorted((each for each in list(self.spans) if each.trace_id == trace_id), key=lambda span: span.began_at)

    def take(self, body: bytes, *, authorization: str | None) -> int:
        """Take one export; returns the status to answer with."""
        if authorization != f"Bearer {self.token}":
            self.refused += 1
            return 401
        self.received.append(body)
        for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _read(resource_spans.resource.attributes).get("service.name", "")
            for scope_spans in resource_spans.scope_spans:
                self.spans += [_span(wire, service) for wire in scope_spans.spans]
        return 200


@contextmanager
def collecting() -> Iterator[Collector]:
    """Collect for the length of a block."""
    collector = Collector()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            known = self.path == "/v1/traces"
            self.send_response(collector.take(body, authorization=self.headers["Authorization"]) if known else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name for it
            """Say nothing."""

    server = ThreadingHTTPServer((HOST, 0), Receiver)
    collector.url = f"http://{HOST}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _span(wire: WireSpan, service: str) -> Span:
    return Span(
        name=wire.name,
        service=service,
        kind=WireSpan.SpanKind.Name(wire.kind).removeprefix("SPAN_KIND_"),
        trace_id=wire.trace_id.hex(),
        span_id=wire.span_id.hex(),
        parent_id=wire.parent_span_id.hex(),
        error=wire.status.message if wire.status.code == Status.STATUS_CODE_ERROR else None,
        attributes=_read(wire.attributes),
        began_at=wire.start_time_unix_nano,
    )


def _read(attributes: list[KeyValue]) -> dict[str, str]:
    return {each.key: _text(each.value) for each in attributes}


def _text(value: AnyValue) -> str:
    which = value.WhichOneof("value")
    return str(getattr(value, which)) if which is not None else ""
