"""A stack for the length of a block, for tests and benchmarks: `make up` itself, as a process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devstack.configuration import neutral_environment
from devstack.postgres import remove_postgres
from devstack.programs import Program, running
from devstack.roles import ROOT

_START_SECONDS = 120.0
_STOP_SECONDS = 90.0


@dataclass(frozen=True)
class RunningStack:
    """A stack that runs, and what is known of it."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def description(self) -> dict[str, Any]:
        """stack.json as it is now: after a restart it names other processes."""
        found: dict[str, Any] = json.loads((self.folder / "stack.json").read_text())
        return found

    @property
    def output(self) -> str:
        """What it has said."""
        return (self.folder / "up.log").read_text()

    def log(self, name: str) -> str:
        """The log of one of its programs."""
        return (self.folder / "logs" / f"{name}.log").read_text()


@contextlib.contextmanager
def running_stack(
    folder: Path,
    *,
    login_workers: int = 1,
    settings: Mapping[str, str] | None = None,
    without: tuple[str, ...] = (),
    keep: bool = False,
) -> Iterator[RunningStack]:
    """Run `make up` in a folder until the block is left.

    Args:
        settings: Latchkey's settings and ports; nobody else's reach it, neither the environment's nor those in `.env`.
        without: parts to leave out, of flower, exporter and s3: a test that needs none of them starts sooner.
        keep: leave its database for another stack in the same folder; the logs stay in any case.

    Raises:
        SetupError: it did not get ready; says why.
    """
    left_out = [word for part in without for word in ("--without", part)]
    stack_file = folder / "stack.json"
    program = Program(
        name="stack",
        command=(sys.executable, "-m", "devstack", "up", "--no-dotenv", "--run-dir", str(folder), *left_out),
        environment={**neutral_environment(), "LOGIN_WORKERS": str(login_workers), **(settings or {})},
        folder=ROOT,
        log=folder / "up.log",
        ready=stack_file.exists,
        ready_seconds=_START_SECONDS,
        stop_seconds=_STOP_SECONDS,
    )
    try:
        with running(program) as process:
            yield RunningStack(folder=folder, process=process)
    finally:
        if not keep:
            remove_postgres(folder)
