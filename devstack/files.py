"""Files of a run folder that others read while we write them: written whole or not at all, secrets for us alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step; only its owner can read it."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(name).replace(path)


def kept_secret(path: Path, *, make: Callable[[], str]) -> str:
    """Return the secret that the file holds; the first time, make it."""
    if not path.exists():
        write_private(path, make())
    return path.read_text()
