"""Every request gets an id, a line in the access log and a place in the counters.

The line names the route and the path, never a query string, a header or a body.
"""

from __future__ import annotations

import re
import time

from flask import Flask, Response, g, request

from app.correlation import begin
from app.ids import new_id
from app.logs import get_logger, redact
from web.parts import parts

_log = get_logger("web.access")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,80}")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
_SUBJECTS = frozenset({"login_id", "session_id"})


def install_observation(app: Flask) -> None:
    """Observe every request of an app; call before anything else that runs before requests."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.started = time.monotonic()
    offered = request.headers.get("X-Request-Id", "")
    g.request_id = offered if _REQUEST_ID.fullmatch(offered) else new_id("req")
    subjects = {name: str(value) for name, value in (request.view_args or {}).items() if name in _SUBJECTS}
    begin(request_id=g.request_id, **subjects)


def _end(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Cache-Control", "no-store")
    route = request.url_rule.rule if request.url_rule is not None else "none"
    seconds = time.monotonic() - g.started
    parts().http_metrics.observe(method=request.method, route=route, status=response.status_code, seconds=seconds)
    fields = {
        "method": request.method,
        "path": redact(request.path[:200]),
        "route": route,
        "status": response.status_code,
        "remote": request.remote_addr,
    } | g.get("log_fields", {})
    started: float = g.started
    write = _log.debug if request.path in _QUIET else _log.info

    def log() -> None:  # runs when the request is gone: it has to bring along all it needs
        write("request", duration_ms=round((time.monotonic() - started) * 1000, 1), **fields)

    # A stream's line is written when it ends, so that its duration is the stream's.
    response.call_on_close(log)
    return response
