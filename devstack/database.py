"""A command with a database that nobody else has: an empty PostgreSQL server, migrated, for the length of the command.

`make check` compares the models with the migrations on it, and `make migration` writes the difference.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from devstack.configuration import DATABASE, configure, neutral_environment
from devstack.folder import remove_folder
from devstack.postgres import prepare_postgres
from devstack.programs import running
from devstack.roles import ROOT

_MIGRATE = (sys.executable, "-m", "app", "migrate")


def with_database(command: list[str]) -> int:
    """Run a command with settings that name a migrated database of its own; returns its exit status.

    Raises:
        SetupError: PostgreSQL cannot run here.
    """
    folder = Path(tempfile.mkdtemp(prefix="latchkey-database-"))
    folder.chmod(0o711)  # PostgreSQL's account walks through when root runs us
    decided = configure(folder, neutral_environment())
    # Nobody logs in here: the settings that name a Telegram would need its key file.
    telegram = {"TELEGRAM_DC_ADDRESS": "", "TELEGRAM_PUBLIC_KEY_FILE": ""}
    environment = {**os.environ, **decided.settings, **telegram}
    server = prepare_postgres(folder, port=decided.ports["postgres"], log=folder / "postgres.log")
    try:
        with running(server.program):
            server.create_database(DATABASE)
            migrated = subprocess.run(_MIGRATE, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            if migrated.returncode != 0:
                sys.stderr.write(migrated.stderr)
                return migrated.returncode
            return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    finally:
        remove_folder(folder)
