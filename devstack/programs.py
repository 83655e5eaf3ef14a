"""One program of the stack: how it is started, when it is ready, how it is stopped. Knows no particular program.

Every program leads a process group of its own, so that Ctrl-C reaches only us and we stop things in order, and dies
with us on Linux, so that a killed stack leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from devstack.errors import SetupError

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None  # loaded here: not between fork and exec


@dataclass(frozen=True)
class Account:
    """The operating system's user that a program runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program and its life.

    Args:
        environment: the whole environment; None means ours.
        ready: a cheap probe, repeated until it is true.
        ready_seconds: how long it may take to become ready.
        stop_seconds: how long it may take to end after ``stop_signal`` before it is killed.
        orphan_signal: what it gets when we die without having stopped it.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    ready: Callable[[], bool]
    environment: Mapping[str, str] | None = field(default=None, repr=False)
    folder: Path | None = None
    account: Account | None = None
    ready_seconds: float = 90.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    orphan_signal: signal.Signals = signal.SIGKILL


class LaunchOptions(TypedDict, total=False):
    """The keyword arguments that `subprocess` and `asyncio` share for starting a program."""

    env: Mapping[str, str] | None
    cwd: Path | None
    stdin: int
    stderr: int
    process_group: int
    preexec_fn: Callable[[], None] | None
    user: int
    group: int
    extra_groups: list[int]


def launch_options(program: Program) -> LaunchOptions:
    """How to start the program: its own process group and account, no input, errors with the output."""
    options = LaunchOptions(
        env=program.environment,
        cwd=program.folder,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        process_group=0,
        preexec_fn=_die_with_parent(program.orphan_signal),
    )
    if program.account:
        options["user"] = program.account.uid
        options["group"] = program.account.gid
        options["extra_groups"] = []
    return options


def _die_with_parent(orphan_signal: signal.Signals) -> Callable[[], None] | None:
    if _LIBC is None:
        return None
    libc, parent = _LIBC, os.getpid()

    def ask_the_kernel() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(orphan_signal))
        if os.getppid() != parent:  # it died before we could ask
            os.kill(os.getpid(), orphan_signal)

    return ask_the_kernel


@contextlib.contextmanager
def running(program: Program) -> Iterator[subprocess.Popen[bytes]]:
    """Run one program for the length of a block: ready when it begins, ended when it is left.

    Raises:
        SetupError: it ended or stayed silent instead of becoming ready.
    """
    program.log.parent.mkdir(parents=True, exist_ok=True)
    with program.log.open("ab") as log:
        process = subprocess.Popen(program.command, stdout=log, **launch_options(program))
    try:
        deadline = time.monotonic() + program.ready_seconds
        while not program.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SetupError(not_ready(program, process.returncode))
            time.sleep(0.02)
        yield process
    finally:
        process.send_signal(program.stop_signal)
        try:
            process.wait(program.stop_seconds)
        except subprocess.TimeoutExpired:
            kill_group(process.pid)
            process.wait()


def not_ready(program: Program, exit_status: int | None) -> str:
    """Say in one line why a program did not become ready, with the last thing it said."""
    how = f"did not get ready in {program.ready_seconds:.0f} s" if exit_status is None else ending(exit_status)
    return f"{program.name} {how}: {last_line(program.log)} (log: {program.log})"


def ending(exit_status: int) -> str:
    """Say how a program ended."""
    if exit_status < 0:
        return f"was ended by {signal.Signals(-exit_status).name}"
    return f"ended with status {exit_status}"


def last_line(log: Path) -> str:
    """Return the last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def kill_group(pid: int) -> None:
    """Kill a program with everything that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
