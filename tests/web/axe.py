"""axe-core, which looks for what keeps people from using a page: installed by npm when the tests first ask for it.

Source: https://github.com/dequelabs/axe-core
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.web.browser import Page

VERSION = "4.14.1"
_INSTALL_SECONDS = 90


class NotAtHand(Exception):
    """Raised when axe-core cannot be had here; the message says why."""


def install_axe(folder: Path) -> str:
    """Install axe-core into a folder, once, and return its script. Two may do so at the same time.

    Raises:
        NotAtHand: there is no npm, or it cannot reach its registry.
    """
    installed = folder / VERSION
    if not installed.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise NotAtHand("there is no npm here")
        with TemporaryDirectory(dir=folder) as place:
            _install(npm, Path(place))
            with suppress(OSError):  # somebody else was faster
                (Path(place) / "node_modules").rename(installed)
    return (installed / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def _install(npm: str, place: Path) -> None:
    options = ("--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(place))
    command = [npm, "install", *options, f"axe-core@{VERSION}"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_INSTALL_SECONDS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as exc:
        raise NotAtHand("npm could not install axe-core") from exc


def findings(page: Page, axe: str) -> list[str]:
    """What axe-core finds on a page as it is: the rule, and where. Best practices count as well as WCAG; frames do not."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(f"{axe};0")
    violations: list[dict[str, Any]] = page.evaluate(
        """
        axe.run(document, { resultTypes: ["violations"], iframes: false }).then(({ violations }) =>
          violations.map(({ id, nodes }) =>
            ({ id, nodes: nodes.map(({ target, failureSummary }) => `${target}: ${failureSummary}`) })))
        """
    )
    return [f"{each['id']}: {'; '.join(each['nodes'])}" for each in violations]
