"""Queries on greenlets, in a process of its own: patching is for a whole process."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

from tests.web.live import ROOT

SCRIPT = """
from web.greenlets import patch
patch()
import json, sys, time
import gevent
from sqlalchemy import text
from app.database import make_engine, make_transaction
from app.errors import Unavailable

def sleep_in(transaction):
    with transaction() as db:
        db.execute(text("SELECT pg_sleep(0.5)"))

def seconds(work, *arguments):
    started = time.monotonic()
    work(*arguments)
    return time.monotonic() - started

def five_at_once(transaction):
    gevent.joinall([gevent.spawn(sleep_in, transaction) for _ in range(5)], raise_error=True)

def expect_unavailable(transaction):
    try:
        sleep_in(transaction)
    except Unavailable:
        return
    raise AssertionError("it answered")

database, silent = (make_transaction(make_engine(url)) for url in sys.argv[1:])
sleep_in(database)
print(json.dumps([seconds(five_at_once, database), seconds(expect_unavailable, silent)]))
"""


def test_queries_yield_and_are_bounded(kept_database: str) -> None:
    """Five queries of half a second take less than two together; a server that stays silent is given up."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_url = f"postgresql+psycopg2://x@127.0.0.1:{silent.getsockname()[1]}/x"
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, kept_database, silent_url],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    together, given_up = json.loads(done.stdout)
    assert 0.5 <= together < 2.0
    assert 4 < given_up < 20


def test_importing_the_package_patches_nothing() -> None:
    """Tests and commands that import ``web`` keep their threads."""
    script = (
        "import web, web.factory, threading; from gevent import monkey; print(monkey.is_module_patched('threading'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"
