"""What the pages and the README name is there: commands, targets of make, files."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from app.cli import cli
from devstack.roles import ROOT
from sandbox.cli import main as sandbox_cli

PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
_PROGRAMS = {"app": cli, "sandbox": sandbox_cli}
_COMMAND = re.compile(r"python -m (app|sandbox)((?: [a-z][a-z-]*)*)")
_OPTIONS = re.compile(r" (--[a-z][a-z-]+)")
_TARGET = re.compile(r"(?:`make |^make (?=[a-z-]+(?: +#| [A-Z_]+=|$)))([a-z][a-z-]+)", re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands_exist_with_their_options(page: Path) -> None:
    """What a page says to type is understood."""
    for line in page.read_text(encoding="utf-8").splitlines():
        for found in _COMMAND.finditer(line):
            command: click.Command = _PROGRAMS[found[1]]
            for word in found[2].split():
                if not isinstance(command, click.Group):
                    break  # an argument, or the sentence goes on
                below = command.get_command(click.Context(command), word)
                assert below is not None, f"{found[0]}: there is no {word}"
                command = below
            known = {"--help"}.union(*((*each.opts, *each.secondary_opts) for each in command.params))
            said = re.split(r"[`|;)]", line[found.end() :])[0]
            assert set(_OPTIONS.findall(said)) <= known, found[0]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_targets_of_make_exist(page: Path) -> None:
    """Every `make something` is in the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(_TARGET.findall(page.read_text(encoding="utf-8"))) <= targets


@pytest.mark.parametrize("page", [path for path in PAGES if path.parent == ROOT], ids=_name)
def test_links_of_the_repository_s_own_pages_lead_somewhere(page: Path) -> None:
    """The site's own are checked when it is built."""
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / link).exists(), link
