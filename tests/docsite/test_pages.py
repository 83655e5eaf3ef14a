"""The pages that are made from the code, and the site as a whole."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import Settings
from devstack.roles import ROOT
from docsite.pages import differing
from docsite.settings import GROUPS

_LOADED = re.compile(
    r"<(?:script|img|iframe|source|video)[^>]*\ssrc=[\"']?([^\"' >]+)"
    r"|<link(?=[^>]*rel=[\"']?(?:stylesheet|icon|preload|preconnect|dns-prefetch|modulepreload))[^>]*\shref=[\"']?([^\"' >]+)"
)
_LOADED_BY_STYLE = re.compile(r"url\([\"']?(https?:|//)|@import")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. A broken link, a page in no menu, or a missing anchor fails the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=100)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_picture_of_a_page_is_shown_and_is_there() -> None:
    """`make screenshots` takes them; whoever adds a state shows it."""
    text = (ROOT / "docs" / "what-people-see.md").read_text()
    shown = sorted(re.findall(r'src="screenshots/([^"]+)"', text))
    assert shown == sorted(path.name for path in (ROOT / "docs" / "screenshots").glob("*.png"))


def test_generated_pages_are_what_the_code_says() -> None:
    """A new call, setting, command, metric, error, runbook or decision is in the reference at once."""
    assert differing() == [], "make docs writes them anew"


def test_every_setting_has_its_sentence_once() -> None:
    """And no sentence is about a setting that is gone."""
    told = [name for group in GROUPS for name in group.settings]
    assert sorted(told) == sorted(Settings.model_fields)


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    """No font, script, style or picture: it works offline, and nobody hears who reads."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for path in pages:
        for loaded in _LOADED.findall(path.read_text(encoding="utf-8")):
            address = "".join(loaded)
            assert not re.match(r"[a-z]+:|//", address) or address.startswith("data:"), f"{path.name} loads {address}"
    for path in site.rglob("*.css"):
        assert not _LOADED_BY_STYLE.search(path.read_text(encoding="utf-8")), path.name


def test_no_page_shows_words_for_tests(site: Path) -> None:
    """What only tests read is taken out of the code blocks, and no block is left unread."""
    for path in site.rglob("*.html"):
        assert "<p>```" not in path.read_text(encoding="utf-8"), path.name
