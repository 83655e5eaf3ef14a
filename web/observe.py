"""Every request gets an id, a line in the access log and a place in the counters.

The line names the route and the path, never a query string, a header or a body.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flask import Flask, Response, g, request

from app.correlation import begin
from app.ids import new_id
from app.logs import get_logger, redact
from web.http_metrics import HttpMetrics
from web.parts import parts

_log = get_logger("web.access")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,80}")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
_SUBJECTS = frozenset({"login_id", "session_id"})

ALWAYS_SENT = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
"""Headers of every answer that says nothing else itself."""

BEGUN = "latchkey.begun"
"""In the environ of a request that ``begin_request`` was called for before Flask saw it."""


class Begun(NamedTuple):
    """When a request began, by ``time.monotonic``, and its id."""

    started: float
    request_id: str


def install_observation(app: Flask) -> None:
    """Observe every request of an app; call before anything else that runs before requests."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    begun: Begun | None = request.environ.get(BEGUN)
    if begun is None:
        begun = begin_request(request.environ, request.view_args or {})
    g.started, g.request_id = begun.started, begun.request_id


def begin_request(environ: Mapping[str, Any], arguments: Mapping[str, Any]) -> Begun:
    """Give a request its id: the one that it came with, if that is one.

    Args:
        environ: of WSGI.
        arguments: of its route.
    """
    offered = environ.get("HTTP_X_REQUEST_ID", "")
    request_id = offered if _REQUEST_ID.fullmatch(offered) else new_id("req")
    begin(request_id=request_id, **{name: str(value) for name, value in arguments.items() if name in _SUBJECTS})
    return Begun(time.monotonic(), request_id)


def _end(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    for name, value in ALWAYS_SENT.items():
        response.headers.setdefault(name, value)
    log = note_answer(
        Begun(g.started, g.request_id),
        method=request.method,
        path=request.path,
        route=request.url_rule.rule if request.url_rule is not None else "none",
        status=response.status_code,
        remote=request.remote_addr,
        log_fields=g.get("log_fields", {}),
    )
    # A stream's line is written when it ends, so that its duration is the stream's.
    response.call_on_close(log)
    return response


def note_answer(
    begun: Begun,
    *,
    method: str,
    path: str,
    route: str,
    status: int,
    remote: str | None,
    log_fields: Mapping[str, str],
    metrics: HttpMetrics | None = None,
) -> Callable[[], None]:
    """Count an answer that is on its way.

    Args:
        metrics: None: those of the current app.

    Returns:
        What writes the access log's line; to be called when all of the answer is sent.
    """
    seconds = time.monotonic() - begun.started
    (metrics or parts().http_metrics).observe(method=method, route=route, status=status, seconds=seconds)
    fields = {"method": method, "path": redact(path[:200]), "route": route, "status": status, "remote": remote}
    write = _log.debug if path in _QUIET else _log.info

    def log() -> None:  # runs when the request is gone: it has to bring along all it needs
        write("request", duration_ms=round((time.monotonic() - begun.started) * 1000, 1), **fields, **log_fields)

    return log
