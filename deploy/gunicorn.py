"""Gunicorn's settings for the web role: greenlets, because every open login page holds an event stream.

Reads HOST, PORT, WEB_CONCURRENCY and PROMETHEUS_MULTIPROC_DIR from the environment; knows nothing of the views.
"""

# ruff: noqa: E402  # the rest is imported after the patch, as gevent asks

from __future__ import annotations

import gc

from web.greenlets import patch

gc.disable()  # until all modules are read: nothing of them is garbage, and to look for some takes a fifth of the start
patch()

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from prometheus_client import multiprocess

from app.errors import SettingsError
from app.exposure import find_exposures
from app.settings import load_settings

try:
    _settings = load_settings()
except SettingsError as exc:
    sys.exit(f"latchkey: {exc}")  # here, because a worker that cannot start says so in fifty lines

bind = [f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"]
if _settings.metrics_port is not None:
    # What operators ask goes here, and only here: the views tell the two addresses apart by their ports.
    bind.append(f"{_settings.metrics_host}:{_settings.metrics_port}")
worker_class = "web.server.ProblemWorker"
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
worker_connections = 10_000  # an open event stream costs a greenlet
keepalive = 30
# Event streams end by themselves only with their login. They reconnect by themselves, so that a restart need not wait.
graceful_timeout = 3
timeout = 30
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # heartbeats never wait for a disk
control_socket_disable = True
accesslog = None  # Latchkey logs its requests itself, without what must not be logged
errorlog = "-"


def on_starting(server: Any) -> None:
    """Say what is wrong with the public address, and begin with no numbers of workers that have gone.

    What those counted belongs to a former start.
    """
    for exposure in find_exposures(_settings):
        server.log.warning("latchkey: %s: %s", exposure.found, exposure.advice)
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        shutil.rmtree(folder, ignore_errors=True)
        Path(folder).mkdir(parents=True)


def when_ready(_server: Any) -> None:
    """Collect garbage from here on."""
    gc.enable()


def post_fork(_server: Any, _worker: Any) -> None:
    """Collect none in a worker that reads its modules."""
    gc.disable()


def post_worker_init(_worker: Any) -> None:
    """Collect garbage from here on, and never look at what is there by now."""
    gc.freeze()
    gc.enable()


def child_exit(server: Any, worker: Any) -> None:
    """Forget the gauges of a worker that has gone."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # theirs
