"""The folder that a stack runs in: one stack at a time, logs of the present one only."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from devstack.errors import SetupError
from devstack.postgres import remove_postgres


class FolderLock:
    """Held by the stack that uses a folder; the system releases it when that stack dies, however it does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def take(self) -> None:
        """Make the folder and take it.

        Raises:
            SetupError: another stack runs there.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o711)  # PostgreSQL's account walks through when root runs us; nobody else looks inside
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise SetupError(
                f"Another stack runs in {self._folder}: end it, or choose another folder: make up RUN_DIR=.run2"
            ) from None
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another stack have the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def empty_logs(folder: Path) -> None:
    """Begin with empty logs; they hold no secret, but they are for the stack's owner alone all the same."""
    logs = folder / "logs"
    logs.mkdir(mode=0o700, exist_ok=True)
    for log in logs.glob("*.log"):
        log.unlink()


def remove_folder(folder: Path, *, keep: str | None = None) -> None:
    """Remove a stack's folder and what of it lives elsewhere, except the one entry to ``keep``."""
    remove_postgres(folder)
    for entry in folder.iterdir():
        if entry.name == keep:
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink()
    if keep is None:
        folder.rmdir()
