"""Latchkey's web application on a port, as the client package meets it; it can go away and come back."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager

from werkzeug.serving import BaseWSGIServer, make_server

from app.settings import Settings
from devstack.ports import free_port
from latchkey_client import AsyncLatchkey
from web import create_app


class ServedWeb(AbstractContextManager["ServedWeb"]):
    """The application, served by threads of this process."""

    def __init__(self, settings: Settings) -> None:
        self._app = create_app(settings)
        self._port = free_port()
        self._server: BaseWSGIServer | None = None
        self.come_back()

    def __exit__(self, *_: object) -> None:
        self.go_away()
        parts = self._app.extensions["latchkey"]
        parts.watch.close()
        core = parts.core
        core.engine.dispose()
        core.redis.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    def latchkey(self, api_key: str) -> AsyncLatchkey:
        """Latchkey as a holder of this key reaches it."""
        return AsyncLatchkey(self.url, api_key)

    def come_back(self) -> None:
        """Listen."""
        self._server = make_server("127.0.0.1", self._port, self._app, threaded=True)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def go_away(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
