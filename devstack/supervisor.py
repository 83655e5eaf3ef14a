"""Keeps programs running: starts each when it is told to, starts it again when it dies, ends all in order.

Knows programs only by their `Program`; what runs and in which order is the stack's business.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from devstack.errors import SetupError
from devstack.programs import Program, ending, kill_group, last_line, launch_options, not_ready

# A program that lived less than this died of itself rather than of something that happened to it.
_QUICK_DEATH_SECONDS = 5.0
# Pauses before the next start, by the number of quick deaths in a row. The first keep the promise of 3 s.
_PAUSES_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
_PROBE_SECONDS = 0.05


class Report(Protocol):
    """Told what happens, to show it to a person."""

    def starting(self, name: str) -> None:
        """A part of the stack begins to start."""

    def ready(self, name: str, seconds: float) -> None:
        """A part of the stack is ready, ``seconds`` after it began to start."""

    def trouble(self, sentence: str) -> None:
        """Something went wrong and is being mended."""


@dataclass
class _Kept:
    """A program that is kept running, and its present process."""

    program: Program
    process: asyncio.subprocess.Process
    started: float
    quick_deaths: int = 0
    keeper: asyncio.Task[None] | None = field(default=None)


class Supervisor:
    """Runs programs until told to stop.

    Args:
        report: where to say what happens.
        changed: called whenever a program has got a new process.
    """

    def __init__(self, *, report: Report, changed: Callable[[], None]) -> None:
        self._report = report
        self._changed = changed
        self._kept: dict[str, _Kept] = {}

    @property
    def pids(self) -> dict[str, int]:
        """The process of every program, by name."""
        return {name: kept.process.pid for name, kept in self._kept.items()}

    async def start(self, program: Program) -> None:
        """Start a program and return when it is ready; from then on it is kept running.

        Raises:
            SetupError: it ended or stayed silent instead of becoming ready.
        """
        began = time.monotonic()
        self._report.starting(program.name)
        kept = _Kept(program, await _launch(program), began)
        self._kept[program.name] = kept
        if not await _becomes_ready(kept):
            raise SetupError(not_ready(program, kept.process.returncode))
        kept.keeper = asyncio.create_task(self._keep(kept), name=f"keep {program.name}")
        self._changed()
        self._report.ready(program.name, time.monotonic() - began)

    async def stop(self, names: Iterable[str]) -> None:
        """End these programs together; each gets its own time to do it. Those that do not run are left out."""
        await asyncio.gather(*(self._stop(name) for name in names))

    def kill(self) -> None:
        """End everything at once, for somebody who cannot wait."""
        for kept in self._kept.values():
            kill_group(kept.process.pid)

    async def _keep(self, kept: _Kept) -> None:
        while True:
            await kept.process.wait()
            kill_group(kept.process.pid)  # a killed Gunicorn's workers hold its port for another second
            await asyncio.sleep(self._mourn(kept))
            kept.process = await _launch(kept.program)
            kept.started = time.monotonic()
            self._changed()
            if await _becomes_ready(kept):
                self._report.ready(kept.program.name, time.monotonic() - kept.started)
            elif kept.process.returncode is None:
                kill_group(kept.process.pid)

    def _mourn(self, kept: _Kept) -> float:
        """Say that a program died, and return how many seconds to wait before the next start."""
        program, status = kept.program, kept.process.returncode or 0
        quick = time.monotonic() - kept.started < _QUICK_DEATH_SECONDS
        kept.quick_deaths = kept.quick_deaths + 1 if quick else 0
        pause = _PAUSES_SECONDS[min(kept.quick_deaths, len(_PAUSES_SECONDS) - 1)]
        sentence = f"{program.name} {ending(status)}; starting it again in {pause:g} s"
        if kept.quick_deaths > 1:
            sentence = (
                f"{program.name} keeps dying ({kept.quick_deaths} times in a row, it {ending(status)}); next try in "
                f"{pause:g} s. Its last line: {last_line(program.log)} (log: {program.log})"
            )
        self._report.trouble(sentence)
        return pause

    async def _stop(self, name: str) -> None:
        kept = self._kept.pop(name, None)
        if kept is None:
            return
        if kept.keeper:
            kept.keeper.cancel()
            await asyncio.gather(kept.keeper, return_exceptions=True)
        if kept.process.returncode is None:
            kept.process.send_signal(kept.program.stop_signal)
        try:
            await asyncio.wait_for(kept.process.wait(), kept.program.stop_seconds)
        except TimeoutError:
            self._report.trouble(f"{name} did not end in {kept.program.stop_seconds:.0f} s and was killed")
        kill_group(kept.process.pid)  # what it left behind, if anything
        await kept.process.wait()


async def _launch(program: Program) -> asyncio.subprocess.Process:
    program.log.parent.mkdir(parents=True, exist_ok=True)
    with program.log.open("ab") as log:
        return await asyncio.create_subprocess_exec(*program.command, stdout=log, **launch_options(program))


async def _becomes_ready(kept: _Kept) -> bool:
    deadline = time.monotonic() + kept.program.ready_seconds
    while kept.process.returncode is None and time.monotonic() < deadline:
        if await asyncio.to_thread(kept.program.ready):
            return True
        await asyncio.sleep(_PROBE_SECONDS)
    return False


async def run_once(command: tuple[str, ...], *, folder: Path, environment: Mapping[str, str], what: str) -> str:
    """Run a command that ends by itself and return what it printed.

    Raises:
        SetupError: it failed; says its last line.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await process.communicate()
    if process.returncode != 0:
        lines = (errors or output).decode(errors="replace").strip().splitlines()
        raise SetupError(f"{what} failed: {lines[-1] if lines else 'it said nothing'}")
    return output.decode()
