"""The supervisor: what dies comes back in time, what keeps dying is slowed down and said, what ends ends for good."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from devstack.errors import SetupError
from devstack.ports import accepts, free_port
from devstack.programs import Program
from devstack.supervisor import Supervisor

_SERVER = "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1])));\nwhile True: s.accept()"


class Heard:
    """A report that remembers."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.became_ready: list[str] = []
        self.troubles: list[str] = []

    def starting(self, name: str) -> None:
        self.began.append(name)

    def ready(self, name: str, seconds: float) -> None:
        self.became_ready.append(name)

    def trouble(self, sentence: str) -> None:
        self.troubles.append(sentence)


def _program(folder: Path, source: str, *arguments: object, ready: Callable[[], bool] = lambda: True) -> Program:
    return Program(
        name="part",
        command=(sys.executable, "-c", textwrap.dedent(source), *map(str, arguments)),
        log=folder / "part.log",
        ready=ready,
        stop_seconds=5,
        ready_seconds=10,
    )


async def _until(condition: Callable[[], bool], *, seconds: float) -> float:
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # what is waited for happens in other processes
            await asyncio.sleep(0.02)
    return time.monotonic() - began


def test_killed_program_is_back_within_three_seconds(tmp_path: Path) -> None:
    """After SIGKILL the program serves again within 3 s, with a new process that is told to the stack."""

    async def scenario() -> None:
        port, heard, changes = free_port(), Heard(), list[dict[str, int]]()
        supervisor = Supervisor(report=heard, changed=lambda: changes.append(dict(supervisor.pids)))
        await supervisor.start(_program(tmp_path, _SERVER, port, ready=lambda: accepts(port)))
        first = supervisor.pids["part"]
        os.kill(first, signal.SIGKILL)
        await _until(lambda: len(heard.became_ready) == 2, seconds=3)
        assert changes[-1]["part"] == supervisor.pids["part"] != first
        assert heard.troubles == ["part was ended by SIGKILL; starting it again in 0.5 s"]
        await supervisor.stop(["part"])
        assert not accepts(port)

    asyncio.run(scenario())


def test_crash_loop_is_said_and_slowed_down(tmp_path: Path) -> None:
    """A program that keeps dying is said with its last line and its log, and started at growing intervals."""

    async def scenario() -> None:
        heard, mark = Heard(), tmp_path / "broken"
        source = f"""
            import pathlib, sys, time
            if pathlib.Path({str(mark)!r}).exists():
                sys.exit("the flux is gone")
            time.sleep(600)
        """
        supervisor = Supervisor(report=heard, changed=lambda: None)
        await supervisor.start(_program(tmp_path, source))
        mark.touch()
        os.kill(supervisor.pids["part"], signal.SIGKILL)
        await _until(lambda: len(heard.troubles) == 4, seconds=10)
        assert "keeps dying (4 times in a row, it ended with status 1); next try in 4 s" in heard.troubles[-1]
        assert "the flux is gone" in heard.troubles[-1]
        assert str(tmp_path / "part.log") in heard.troubles[-1]
        await supervisor.stop(["part"])

    asyncio.run(scenario())


def test_program_that_cannot_start_is_one_line(tmp_path: Path) -> None:
    """A program that ends before it is ready fails the start with what it said last."""

    async def scenario() -> None:
        supervisor = Supervisor(report=Heard(), changed=lambda: None)
        program = _program(tmp_path, "import sys; sys.exit('no such luck')", ready=lambda: False)
        with pytest.raises(SetupError, match=r"^part ended with status 1: no such luck"):
            await supervisor.start(program)
        await supervisor.stop(["part"])

    asyncio.run(scenario())


def test_stubborn_program_is_killed_with_its_children(tmp_path: Path) -> None:
    """A program that ignores the stop signal, and the children that it made, are gone after its time."""

    async def scenario() -> None:
        source = """
            import signal, subprocess, sys, time
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
            time.sleep(600)
        """
        heard, log = Heard(), tmp_path / "part.log"
        supervisor = Supervisor(report=heard, changed=lambda: None)
        program = _program(tmp_path, source, ready=lambda: bool(log.read_text()))
        await supervisor.start(Program(**{**vars(program), "stop_seconds": 0.3}))
        child = psutil.Process(int(log.read_text()))
        await supervisor.stop(["part"])
        await _until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, seconds=3)
        assert heard.troubles == ["part did not end in 0 s and was killed"]

    asyncio.run(scenario())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_programs_die_with_a_killed_stack(tmp_path: Path) -> None:
    """When the stack itself is killed, nothing of it stays behind."""

    async def scenario() -> None:
        port = free_port()
        stack = f"""
            import asyncio, pathlib, sys
            from devstack.ports import accepts
            from devstack.programs import Program
            from devstack.supervisor import Supervisor
            from tests.devstack.test_supervisor import Heard

            async def main():
                supervisor = Supervisor(report=Heard(), changed=lambda: None)
                await supervisor.start(Program(
                    name="inner", command=(sys.executable, "-c", {_SERVER!r}, "{port}"),
                    log=pathlib.Path({str(tmp_path / "inner.log")!r}), ready=lambda: accepts({port}),
                ))
                await asyncio.Event().wait()

            asyncio.run(main())
        """
        supervisor = Supervisor(report=Heard(), changed=lambda: None)
        await supervisor.start(_program(tmp_path, stack, ready=lambda: accepts(port)))
        inner = psutil.Process(supervisor.pids["part"]).children()
        os.kill(supervisor.pids["part"], signal.SIGKILL)
        await supervisor.stop(["part"])
        assert len(inner) == 1
        await _until(lambda: not inner[0].is_running(), seconds=3)

    asyncio.run(scenario())
