"""The reference: its examples are what the application takes, in three languages; it finds, and tries calls, in a browser."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.web.browser import CHROMIUM, Page
from tests.web.callers import Caller, members
from tests.web.live import Live
from web.views.docs_examples import body_of, examples_of, path_of

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")


@pytest.fixture
def spec(alice: Caller) -> dict[str, Any]:
    """The document that the page is made of."""
    return members(alice.get("/openapi.json"))


def operations(spec: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and operation of each call."""
    for path, found in spec["paths"].items():
        yield from ((method.upper(), path, operation) for method, operation in found.items())


def test_the_application_takes_the_body_of_every_example(alice: Caller, spec: dict[str, Any]) -> None:
    """There is no such thing, or not now, or it is done: never is the body wrong, but for what stands for a secret."""
    looked_at = 0
    for method, path, operation in operations(spec):
        body = body_of(spec, operation)
        if body is None or path == "/miniapp/logins":
            continue
        answer = alice.call(method, path_of(path), body)
        looked_at += 1
        if answer.status_code == 422:
            fields = {error["field"] for error in members(answer)["errors"]}
            assert fields <= {"session_string", "redirect_url", "url"}, (method, path, answer.text)
    assert looked_at > 15


def test_every_example_is_a_program(spec: dict[str, Any], tmp_path: Path) -> None:
    """Python parses; curl's words are words; TypeScript parses where there is Node.js."""
    scripts = []
    for method, path, operation in operations(spec):
        curl, python, typescript = (each.code for each in examples_of(spec, method, path, operation))
        ast.parse(python)
        subprocess.run(["sh", "-n", "-c", curl], check=True, timeout=10)
        scripts.append(f"async () => {{ {typescript} }};")
    if shutil.which("node"):
        (tmp_path / "all.mjs").write_text("\n".join(scripts))
        subprocess.run(["node", "--check", str(tmp_path / "all.mjs")], check=True, timeout=30)


def test_the_root_leads_to_the_reference(nobody: Caller) -> None:
    """Whoever comes without knowing where."""
    answer = nobody.get("/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/docs")


@pytest.fixture
def page(browser: Page) -> Iterator[Page]:
    """A desk's screen, on which nothing may go wrong unseen."""
    browser.size(1280, 800)
    browser.complaints.clear()
    yield browser
    assert browser.complaints == []


def count(page: Page, selector: str) -> int:
    """How many elements are to be seen."""
    found: int = page.evaluate(f"[...document.querySelectorAll({selector!r})].filter((e) => e.offsetParent).length")
    return found


def search(page: Page, words: str) -> None:
    """Type into the search."""
    field = "document.querySelector('#search')"
    page.evaluate(f"({field}.value = {words!r}, {field}.dispatchEvent(new Event('input')))")


@needs_browser
def test_the_reference_finds_and_tries(live: Live, page: Page) -> None:
    """Words leave what has all of them; a language is chosen once for all; a call is sent to this server, with the key."""
    page.go(f"{live.url}/docs")
    everything = count(page, "section")
    search(page, "fencing token")
    assert 0 < count(page, "section") < everything / 4
    search(page, "zebra")
    assert count(page, "#nothing") == 1
    search(page, "")
    assert count(page, "section") == everything
    page.click("document.querySelector('[role=tab][data-language=Python]')")
    assert count(page, ".example[data-language=curl]") == 0
    assert count(page, ".example[data-language=Python]") > 30
    key = live.headers["Authorization"].removeprefix("Bearer ")
    page.evaluate(f"document.querySelector('#key').value = {key!r}")
    page.click("document.querySelector('#list_all summary')")
    page.click("document.querySelector('#list_all form button')")
    page.wait_for("document.querySelector('#list_all output').dataset.good === 'true'")
    told = page.evaluate("document.querySelector('#list_all output').textContent")
    assert told.startswith("200")
    assert "data" in json.loads(told.split("\n\n", 1)[1])
    if folder := os.environ.get("SCREENSHOTS"):
        page.evaluate("document.querySelector('#start').scrollIntoView()")
        page.screenshot(Path(folder) / "docs-1280.png")
