"""The reference in the repository says what the code does."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from openapi_spec_validator import validate

from web.problems import CODES
from web.reference import DOCS, main, out_of_date


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The kept OpenAPI document."""
    read: dict[str, Any] = json.loads((DOCS / "openapi.json").read_text())
    return read


def test_the_kept_reference_is_up_to_date() -> None:
    """Otherwise: make reference. What changed for callers shows in the diff of docs/openapi.json."""
    assert out_of_date() == []
    assert main(["--check"]) == 0


def test_the_kept_document_is_valid(document: dict[str, Any]) -> None:
    """OpenAPI 3.1; each operation has a name, a summary, a tag and a success; no address of this machine."""
    validate(document)
    assert document["openapi"].startswith("3.1")
    operations = [
        operation
        for methods in document["paths"].values()
        for method, operation in methods.items()
        if method != "parameters"
    ]
    names = Counter(operation["operationId"] for operation in operations)
    assert [name for name, count in names.items() if count > 1] == []
    for operation in operations:
        assert operation["summary"], operation
        assert operation["tags"], operation
        assert [status for status in operation["responses"] if status.startswith("2")], operation
    assert [server["url"] for server in document["servers"]] == ["https://latchkey.example"]


def test_every_code_is_on_the_page_of_errors() -> None:
    """With its status, what it means and what to do."""
    page = (DOCS / "reference" / "errors.md").read_text()
    for code, (status, sentence) in CODES.items():
        assert f"`{code}` | {status} | {sentence} |" in page
        assert sentence.count(". ") + sentence.count("; ") + sentence.count(": ") >= 1, f"{code}: what is to be done?"
