"""Starting: how long until a process does its work, beside the same kind of process with nothing in it.

The web is ready when it answers `/healthz`, a worker when its metrics can be read, the command line when it has printed its
help. Most of each is Python reading modules.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace

from bench.figures import Figure, at_most, median_of
from bench.web_process import ROOT, Stores, environment, stores, web_program
from devstack.ports import free_port
from devstack.programs import Program, running
from devstack.roles import Place, login_worker

_RUNS = 3


def run() -> dict[str, Figure]:
    """All figures, by name."""
    with stores() as of:
        nothing = median_of(_RUNS, lambda: _command("-c", "pass"))
        help_text = median_of(_RUNS, lambda: _command("-m", "app", "--help"))
        empty = median_of(_RUNS, lambda: _until_ready(web_program(of, application="bench.empty_view:app")))
        web = median_of(_RUNS, lambda: _until_ready(web_program(of)))
        bare = median_of(_RUNS, lambda: _until_ready(_bare_worker(of)))
        worker = median_of(_RUNS, lambda: _until_ready(_worker(of)))
    return {
        "the command line, until it has helped": at_most(
            0.3, help_text, "s", peer="python -c pass", peer_value=nothing, of="value"
        ),
        "web, until it answers": at_most(
            1.0, web, "s", peer="an empty Flask view on the same server", peer_value=empty, of="value"
        ),
        "login worker, until it is ready": at_most(
            2.0, worker, "s", peer="a Celery worker without a task", peer_value=bare, of="value"
        ),
    }


def _command(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - began


def _until_ready(program: Program) -> float:
    began = time.perf_counter()
    with running(program):
        return time.perf_counter() - began


def _worker(of: Stores) -> Program:
    port = free_port()
    place = Place(folder=of.folder, environment=environment(of, PYTHONPATH=str(ROOT)))
    return replace(login_worker(place, number=1, metrics_port=port), folder=ROOT)


def _bare_worker(of: Stores) -> Program:
    ready_file = of.folder / "ready"
    ready_file.unlink(missing_ok=True)
    celery = (sys.executable, "-m", "celery", "-A", "bench.empty_worker", "worker", "-P", "threads", "-Q", "bench")
    return Program(
        name="bench.empty_worker",
        command=celery,
        log=of.folder / "empty_worker.log",
        folder=ROOT,
        environment=environment(of, READY_FILE=str(ready_file)),
        ready=ready_file.exists,
    )
