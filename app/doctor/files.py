"""Files: may anybody else read the secrets, and is there room to write."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from app.doctor.finding import Finding
from app.settings import SECRET_SETTINGS, Settings

_LEAST_FREE = 0.1
_OTHERS = stat.S_IRWXO | stat.S_IWGRP


def look_at_secret_files(settings: Settings) -> Iterator[Finding]:
    """The key file, and every file that a ``NAME_FILE`` names: nobody but their owner and its group may read them."""
    files = {f"{name}_FILE": os.environ.get(f"{name}_FILE", "").strip() for name in SECRET_SETTINGS}
    if settings.key_provider == "local":
        files["LOCAL_KEY_FILE"] = str(settings.local_key_file)
    for name, path in files.items():
        if path and (mode := Path(path).stat().st_mode) & _OTHERS:
            found = f"{name}: {path} has mode {stat.S_IMODE(mode):04o}: other users may read or change it"
            yield Finding("secrets", "warning", found, f"chmod 400 {path}, and chown it to the user of the process")


def look_at_disk() -> Iterator[Finding]:
    """Where processes write: temporary files, and the counts that web processes share."""
    folders = {Path(tempfile.gettempdir())}
    if shared := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        folders.add(Path(shared) if Path(shared).is_dir() else Path(shared).parent)
    for folder in sorted(folders):
        yield _room(folder)


def _room(folder: Path) -> Finding:
    try:
        usage = shutil.disk_usage(folder)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as exc:
        advice = "give the process a folder that it may write to, by TMPDIR or PROMETHEUS_MULTIPROC_DIR"
        return Finding("disk", "failed", f"{folder} cannot be written: {exc.strerror}", advice)
    free = usage.free / usage.total if usage.total else 0.0
    found = f"{folder} has {usage.free / 2**20:,.0f} MiB free ({free:.0%})"
    if free < _LEAST_FREE:
        return Finding("disk", "warning", found, "make room")
    return Finding("disk", "ok", found)
