"""Servers that no wheel carries, as programs: Debian's, unpacked into .engines by `make engines`, or the system's own."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from devstack.ports import HOST, free_port
from devstack.programs import Program, running
from devstack.redis import redis_binary, redis_program

_ROOT = Path(__file__).resolve().parents[2]
_UNPACKED = _ROOT / ".engines" / "usr"
PASSWORD = "of-the-engine"


class RestartedProgram:
    """A program that a test stops and starts; runs when its ``with`` block begins."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._running = ExitStack()

    def __enter__(self) -> RestartedProgram:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.process = self._running.enter_context(running(self._program))

    def stop(self) -> None:
        """End it, and wait until it has."""
        self._running.close()


def find(name: str, *places: str) -> Path:
    """A program by its name, or by its place below /usr; skips the test where there is none."""
    for pattern in places:
        for base in (_UNPACKED, Path("/usr")):
            if found := sorted(base.glob(pattern)):
                return found[-1]
    system = shutil.which(name)
    if system is None:
        pytest.skip(f"there is no {name}: `make engines` unpacks Debian's, where there is apt-get")
    return Path(system)


def environment(**more: str) -> dict[str, str]:
    """What an unpacked program needs to find its libraries."""
    libraries = ":".join(str(path) for path in _UNPACKED.glob("lib/*-linux-gnu"))
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "LD_LIBRARY_PATH": libraries, **more}


def answers(port: int, said: bytes, *, starts_with: bytes) -> bool:
    """Whether a server answers some bytes as it should."""
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(said)
            return connection.recv(64).startswith(starts_with)
    except OSError:
        return False


def rabbitmq(folder: Path, *, port: int, epmd_port: int, options: Mapping[str, str] | None = None) -> Program:
    """RabbitMQ with the user ``latchkey``; Erlang's port mapper must run."""
    folder.mkdir(parents=True, exist_ok=True)
    server = find("rabbitmq-server", "lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server")
    erlang = find("erl", "lib/erlang/bin/erl").parent
    lines = {
        "listeners.tcp.1": f"{HOST}:{port}",
        "default_user": "latchkey",
        "default_pass": PASSWORD,
        **(options or {}),
    }
    (folder / "rabbitmq.conf").write_text("".join(f"{name} = {value}\n" for name, value in lines.items()))
    return Program(
        name="rabbitmq",
        command=(str(server),),
        folder=folder,
        environment=environment(
            PATH=f"{erlang}:/usr/bin:/bin",
            HOME=str(folder),
            ERL_EPMD_PORT=str(epmd_port),
            ERL_EPMD_ADDRESS=HOST,
            RUNNING_UNDER_SYSTEMD="true",  # so that the process that we start is the server
            RABBITMQ_NODENAME="latchkey@localhost",
            RABBITMQ_MNESIA_BASE=str(folder / "mnesia"),
            RABBITMQ_LOGS="-",
            RABBITMQ_CONFIG_FILE=str(folder / "rabbitmq"),
            RABBITMQ_CONF_ENV_FILE=os.devnull,
            RABBITMQ_ENABLED_PLUGINS_FILE=str(folder / "plugins"),
            RABBITMQ_DIST_PORT=str(free_port()),
        ),
        log=folder / "rabbitmq.log",
        ready=lambda: answers(port, b"AMQP\x00\x00\x09\x01", starts_with=b"\x01"),
        ready_seconds=60,
        stop_seconds=30,
    )


def erlang_port_mapper(folder: Path, *, port: int) -> Program:
    """What RabbitMQ would start by itself, and leave behind."""
    folder.mkdir(parents=True, exist_ok=True)
    return Program(
        name="epmd",
        command=(str(find("epmd", "lib/erlang/erts-*/bin/epmd")), "-port", str(port), "-address", HOST),
        environment=environment(ERL_EPMD_PORT=str(port)),
        log=folder / "epmd.log",
        ready=lambda: answers(port, b"\x00\x01n", starts_with=port.to_bytes(4, "big")),
    )


def redis_copy(folder: Path, *, port: int, of: int | None = None, binary: Path | None = None) -> Program:
    """A Redis that may become master, copying another one at first."""
    program = redis_program(folder, port=port, log=folder / "redis.log")
    command = [str(binary), *program.command[1:]] if binary else list(program.command)
    if of is not None:
        command += ["--replicaof", HOST, str(of)]
    return replace(program, command=tuple(command), environment=environment(), name=f"redis-{port}")


def sentinel(folder: Path, *, port: int, master: int, binary: Path | None = None) -> Program:
    """One of three Sentinels that watch the master ``latchkey``; two of them agree that it is down."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "sentinel.conf"  # it writes what it learns into it
    lines = (
        f"bind {HOST}",
        f"port {port}",
        f"dir {folder}",
        f"sentinel monitor latchkey {HOST} {master} 2",
        "sentinel down-after-milliseconds latchkey 2000",
        "sentinel failover-timeout latchkey 6000",
    )
    file.write_text("\n".join(lines) + "\n")
    return Program(
        name=f"sentinel-{port}",
        command=(str(binary or redis_binary()), str(file), "--sentinel"),
        environment=environment(),
        log=folder / "sentinel.log",
        ready=lambda: answers(port, b"PING\r\n", starts_with=b"+PONG"),
    )
