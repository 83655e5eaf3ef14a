"""PostgreSQL without Docker, without root and without installing anything on the system: a wheel's own binaries.

The binaries are driven directly, not through the wheel's API, which adds a user to the operating system when it runs as
root. Knows nothing of what is stored.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
from psycopg2 import sql

from devstack.errors import SetupError
from devstack.files import kept_secret
from devstack.ports import HOST
from devstack.postgres_binaries import find_binaries, reachable
from devstack.programs import Account, Program

_USER = "latchkey"

_SERVER_OPTIONS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    # A commit survives the death of the process, though not of the machine: right for trying things and for tests.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "on",
}


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL server that can be started."""

    program: Program
    port: int
    password: str = field(repr=False)

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of one of its databases."""
        return postgres_url(self.port, password=self.password, database=database)

    def execute(self, statement: sql.Composable) -> None:
        """Run a statement that belongs to no database, such as CREATE DATABASE, outside a transaction."""
        connection = self._connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    def create_database(self, name: str, *, template: str = "template1") -> None:
        """Create an empty database, or a copy of another one; leaves an existing one as it is."""
        try:
            self.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            )
        except psycopg2.errors.DuplicateDatabase:
            return

    def _connect(self) -> psycopg2.extensions.connection:
        connection = psycopg2.connect(
            host=HOST,
            port=self.port,
            user=_USER,
            password=self.password,
            dbname="postgres",
            connect_timeout=5,
        )
        connection.autocommit = True
        return connection


def postgres_url(port: int, *, password: str, database: str, user: str = _USER) -> str:
    """The SQLAlchemy URL of a database of the server on this port; by default as the role that owns it."""
    return f"postgresql+psycopg2://{user}:{password}@{HOST}:{port}/{database}"


def postgres_password(folder: Path) -> str:
    """The password of the server in ``folder``, which is made up before the server is."""
    return kept_secret(folder / "postgres.password", make=lambda: secrets.token_urlsafe(24))


def prepare_postgres(folder: Path, *, port: int, log: Path) -> Postgres:
    """Make a server in ``folder``, or take up the one that was made there before.

    Args:
        folder: where its password and, if the server's account can get there, its data and binaries live.

    Raises:
        SetupError: there are no usable binaries, or no account to run them as.
    """
    folder.mkdir(parents=True, exist_ok=True)
    account = _account()
    home = _home(folder, account)
    binaries = find_binaries(home, account)
    password = postgres_password(folder)
    data = home / "data"
    if not (data / "PG_VERSION").exists():
        _initialise(binaries, data, password=password, account=account)
    options = [part for name, value in _SERVER_OPTIONS.items() for part in ("-c", f"{name}={value}")]
    program = Program(
        name="postgres",
        command=(str(binaries / "postgres"), "-D", str(data), "-p", str(port), *options),
        log=log,
        ready=lambda: _answers(port, password),
        folder=home,
        account=account,
        stop_signal=signal.SIGINT,  # its "fast" shutdown: does not wait for clients to leave
        orphan_signal=signal.SIGINT,
    )
    return Postgres(program=program, port=port, password=password)


def remove_postgres(folder: Path) -> None:
    """Remove the data of a server that was made in ``folder``, wherever it is."""
    pointer = folder / "postgres.home"
    home = Path(pointer.read_text()) if pointer.exists() else folder / "postgres"
    shutil.rmtree(home, ignore_errors=True)
    pointer.unlink(missing_ok=True)


def _account() -> Account | None:
    """PostgreSQL refuses to run as root: an account that exists on every system serves then."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise SetupError("PostgreSQL does not run as root, and there is no user 'nobody': use another user.") from None
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def _home(folder: Path, account: Account | None) -> Path:
    """The server's own folder: inside ``folder``, or a private temporary one when its account cannot get there."""
    home = folder / "postgres"
    pointer = folder / "postgres.home"
    if pointer.exists() and Path(pointer.read_text()).is_dir():
        return Path(pointer.read_text())
    if not reachable(folder, account):
        home = Path(tempfile.mkdtemp(prefix="latchkey-postgres-", dir=_reachable_temporary_folder(account)))
        pointer.write_text(str(home))
    home.mkdir(exist_ok=True)
    if account:
        os.chown(home, account.uid, account.gid)
    home.chmod(0o700)
    return home


def _reachable_temporary_folder(account: Account | None) -> Path:
    for folder in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):  # noqa: S108  # mkdtemp makes it ours
        if folder.is_dir() and reachable(folder, account):
            return folder
    raise SetupError("PostgreSQL's account 'nobody' can reach no temporary folder: set TMPDIR to one that it can.")


def _initialise(binaries: Path, data: Path, *, password: str, account: Account | None) -> None:
    with tempfile.NamedTemporaryFile("w", dir=data.parent) as password_file:
        password_file.write(password)
        password_file.flush()
        if account:
            os.chown(password_file.name, account.uid, account.gid)
        command = [
            str(binaries / "initdb"),
            f"--pgdata={data}",
            f"--username={_USER}",
            f"--pwfile={password_file.name}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ]
        done = subprocess.run(
            command,
            cwd=data.parent,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise SetupError(f"PostgreSQL's initdb failed: {said[-1] if said else 'it said nothing'}")


def _answers(port: int, password: str) -> bool:
    try:
        psycopg2.connect(
            host=HOST, port=port, user=_USER, password=password, dbname="postgres", connect_timeout=2
        ).close()
    except psycopg2.OperationalError:
        return False
    return True
