"""The operators' address of a worker or beat: ``/metrics``, ``/healthz`` and ``/readyz``, as the web role has them.

On ``METRICS_HOST``:``METRICS_PORT``, in a thread of its own; nothing listens when no port is set.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from app.logs import get_logger
from app.readiness import Readiness

_log = get_logger(__name__)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _SixServer(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name for it
        """Say nothing: scrapes come every few seconds."""


class OperatorsServer:
    """Serves until it is closed.

    Args:
        registry: what ``/metrics`` shows.
        readiness: what ``/readyz`` asks.

    Raises:
        OSError: the port is taken.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        registry: CollectorRegistry,
        readiness: Readiness,
    ) -> None:
        self._metrics = make_wsgi_app(registry)
        self._readiness = readiness
        server_class = _SixServer if ":" in host else _Server
        self._server: WSGIServer = make_server(
            host, port, self._answer, server_class=server_class, handler_class=_Quiet
        )
        Thread(target=self._server.serve_forever, name="operators", daemon=True).start()
        _log.info("metrics.listening", host=host, port=port)

    def close(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO")
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start_response)
            return answer
        if path == "/healthz":
            return _send(start_response, HTTPStatus.OK, {"status": "ok"})
        if path == "/readyz":
            ready, checks = self._readiness.look()
            status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
            return _send(start_response, status, {"status": "ready" if ready else "not_ready", "checks": checks})
        return _send(start_response, HTTPStatus.NOT_FOUND, {"status": "/healthz, /readyz and /metrics are here."})


def _send(start_response: StartResponse, status: HTTPStatus, body: dict[str, object]) -> list[bytes]:
    headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
    start_response(f"{status.value} {status.phrase}", headers)
    return [json.dumps(body).encode() + b"\n"]
