"""Two beats: each job is sent once, and a beat that hangs or dies costs its jobs seconds."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from devstack.ports import HOST, accepts, free_port
from devstack.programs import Program, running
from tests.stack.city import City
from tests.waiting import wait_until

_SENT = re.compile(r'^telethon_beat_sent_total\{task="latchkey.sweep_webhooks"\} (\S+)$', re.MULTILINE)


def sent_by(port: int) -> int:
    """How often a beat has sent what comes every second."""
    try:
        found = _SENT.search(requests.get(f"http://{HOST}:{port}/metrics", timeout=2).text)
    except requests.RequestException:  # it is stopped
        return 0
    return int(float(found[1])) if found else 0


def answers(address: str) -> bool:
    """Whether somebody is there."""
    try:
        return requests.get(address, timeout=2).ok
    except requests.RequestException:
        return False


@pytest.fixture
def second_beat(city: City, tmp_path: Path) -> Iterator[int]:
    """Another beat beside the stack's own; its metrics port."""
    first, port = psutil.Process(city.pid("beat")), free_port()
    program = Program(
        name="beat-2",
        command=tuple(first.cmdline()),
        folder=tmp_path,
        environment={**first.environ(), "METRICS_PORT": str(port)},
        log=tmp_path / "beat-2.log",
        ready=lambda: accepts(port),
    )
    with running(program):
        yield port


def test_a_second_beat_sends_nothing_until_the_first_hangs(city: City, second_beat: int) -> None:
    """Then it does within a minute; and when the first wakes up, what is due is still sent once."""
    first = city.stack.description["beat_metrics"]
    first_port = int(re.findall(r":(\d+)/", first)[0])
    began, before = time.monotonic(), sent_by(first_port)
    wait_until(lambda: sent_by(first_port) >= before + 5, within_seconds=30)
    assert sent_by(second_beat) == 0
    assert sent_by(first_port) - before <= time.monotonic() - began + 2
    ready = requests.get(f"http://{HOST}:{second_beat}/readyz", timeout=5).json()
    assert ready["checks"]["schedule"]["found"] == "stands by: another beat sends"
    pid = city.pid("beat")
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: sent_by(second_beat) > 0, within_seconds=60)
    finally:
        os.kill(pid, signal.SIGCONT)
    time.sleep(2.0)  # the first finds out that it lost the lock, and ends; its supervisor starts it anew
    wait_until(lambda: answers(first), within_seconds=30)
    began, before = time.monotonic(), sent_by(second_beat) + sent_by(first_port)
    wait_until(lambda: sent_by(second_beat) + sent_by(first_port) >= before + 5, within_seconds=30)
    assert sent_by(second_beat) + sent_by(first_port) - before <= time.monotonic() - began + 2
