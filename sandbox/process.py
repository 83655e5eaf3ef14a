"""Starts a sandbox as a process of its own and waits until it listens; for tests and for the stack."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from sandbox.driver import SandboxDriver

_START_SECONDS = 30
_STOP_SECONDS = 10
_POLL_SECONDS = 0.02
_ROOT = Path(__file__).resolve().parent.parent


class SandboxStartError(Exception):
    """Raised when the process ended or did not listen in time; the message has what it said."""


@dataclass(slots=True)
class RunningSandbox:
    """A sandbox in a process of its own; stops when its `with` block ends."""

    process: subprocess.Popen[bytes]
    control: str
    """URL of its control API."""
    dcs: dict[int, int]
    """The port of each data centre."""
    public_key_file: Path
    log_file: Path
    host: str = "127.0.0.1"

    @property
    def driver(self) -> SandboxDriver:
        """A client of its control API."""
        return SandboxDriver(self.control)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def stop(self) -> None:
        """End the process; repeat as you like."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(_STOP_SECONDS)

    def __enter__(self) -> "RunningSandbox":
        """Hand out the sandbox."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()


def start_sandbox(directory: Path, **options: Any) -> RunningSandbox:
    """Start a sandbox and return once it listens.

    Args:
        directory: gets the public key, the ready file and the log; made when it is not there.
        options: of `python -m sandbox serve`, with underscores, e.g. token_seconds=2, state_file=path,
            dc_ports="0,0".

    Raises:
        SandboxStartError: it ended, or did not listen within 30 s.
    """
    ready_file, log_file = directory / "sandbox.ready.json", directory / "sandbox.log"
    directory.mkdir(parents=True, exist_ok=True)
    ready_file.unlink(missing_ok=True)
    arguments = {"public_key_file": directory / "sandbox.pub.pem", "ready_file": ready_file, **options}
    command = [sys.executable, "-m", "sandbox", "serve"]
    for name, value in arguments.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    with log_file.open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=_ROOT)  # noqa: S603 - our own command
    return _wait_until_ready(process, ready_file, log_file)


def _wait_until_ready(process: subprocess.Popen[bytes], ready_file: Path, log_file: Path) -> RunningSandbox:
    deadline = time.monotonic() + _START_SECONDS
    while not ready_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait(_STOP_SECONDS)
            raise SandboxStartError(log_file.read_text(errors="replace")[-2000:])
        time.sleep(_POLL_SECONDS)
    ready = json.loads(ready_file.read_text())
    return RunningSandbox(
        process=process,
        control=ready["control"],
        dcs={int(dc_id): port for dc_id, port in ready["dcs"].items()},
        public_key_file=Path(ready["public_key_file"]),
        log_file=log_file,
    )
