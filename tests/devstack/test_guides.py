"""docs/operations: every command that an operator is told to type exists, and every page that is linked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from app.cli import cli

_FOLDER = Path(__file__).parents[2] / "docs" / "operations"
_PAGES = sorted(_FOLDER.glob("*.md"))
_COMMAND = re.compile(r"python -m app ((?:[a-z-]+ ?)+)((?: ?--[a-z-]+)*)")
_LINK = re.compile(r"\]\(([^)#:]+)\)")


def _commands(page: Path) -> Iterator[tuple[list[str], list[str]]]:
    for line in page.read_text().splitlines():
        for words, options in _COMMAND.findall(line):
            yield words.split(), options.split()


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.stem))
def test_every_command_of_a_page_exists(page: Path) -> None:
    """With the options that follow it. The words behind a command are its arguments."""
    for words, options in _commands(page):
        command: click.Command = cli
        context = click.Context(cli)
        for word in words:
            if not isinstance(command, click.Group):
                break
            found = command.get_command(context, word)
            assert found is not None, f"python -m app {' '.join(words)}"
            command = found
        assert not isinstance(command, click.Group), f"python -m app {' '.join(words)}"
        known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        assert set(options) <= known, f"python -m app {' '.join(words + options)}"


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.stem))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    """Within the repository."""
    for target in _LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_pages_tell_commands() -> None:
    """The pattern above finds them."""
    assert {" ".join(words) for page in _PAGES for words, _ in _commands(page)} >= {"doctor", "migrate", "keys rewrap"}


def test_the_doctors_page_has_every_finding() -> None:
    """By the name that it prints."""
    looks = (Path(__file__).parents[2] / "app" / "doctor").glob("*.py")
    names = {name for look in looks for name in re.findall(r'Finding\(\s*"([a-z_ ]+)"', look.read_text())}
    assert {"schema", "role", "api_id"} <= names
    page = (_FOLDER / "doctor.md").read_text()
    assert [name for name in sorted(names) if f"| `{name}` |" not in page] == []
