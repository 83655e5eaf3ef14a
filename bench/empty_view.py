"""An empty Flask view: what any API on this server costs at least. Served by ``bench.web_process``."""

from __future__ import annotations

from flask import Flask

app = Flask(__name__)


@app.get("/")
@app.get("/healthz")
def empty() -> str:
    """Answer nothing."""
    return ""
