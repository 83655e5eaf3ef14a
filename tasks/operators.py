"""What a worker tells operators by HTTP, on ``METRICS_HOST``:``METRICS_PORT``: its metrics, and whether it does its work."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from tasks.consuming import Standstill


class OperatorsServer:
    """Answers ``/metrics``, ``/healthz`` and ``/readyz`` in threads of its own, from its making until ``stop``.

    Args:
        standstill: says what is wrong, None when nothing is; asked for ``/readyz``.

    Raises:
        OSError: the port is taken.
    """

    def __init__(
        self, *, host: str, port: int, registry: CollectorRegistry, standstill: Callable[[], Standstill | None]
    ) -> None:
        self._metrics: Callable[..., Iterable[bytes]] = make_wsgi_app(registry)
        self._standstill = standstill
        self._server: WSGIServer = make_server(
            host, port, self._answer, server_class=_SixServer if ":" in host else _Server, handler_class=_Silent
        )
        threading.Thread(target=self._server.serve_forever, name="operators", daemon=True).start()

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        match environment["PATH_INFO"]:
            case "/metrics":
                return self._metrics(environment, start)
            case "/healthz":
                return _say(start, "200 OK", {"status": "ok"})
            case "/readyz":
                standstill = self._standstill()
                if standstill is None:
                    return _say(start, "200 OK", {"status": "ready"})
                return _say(start, "503 Service Unavailable", {"status": "not_ready", "detail": standstill.sentence})
            case _:
                return _say(start, "404 Not Found", {"status": "not_found"})


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _SixServer(_Server):
    address_family = socket.AF_INET6


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing: it is asked every few seconds."""


def _say(start: StartResponse, status: str, body: dict[str, str]) -> Iterable[bytes]:
    start(status, [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]
