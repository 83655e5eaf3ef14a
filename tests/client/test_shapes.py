"""The client package against the API's reference: what it reads is what Latchkey sends."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from latchkey_client import LatchkeyError, errors, logins, models, problems, sessions
from latchkey_client.steps import Answer
from web.problems import CODES

SCHEMAS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())["components"][
    "schemas"
]
OTHERWISE_NAMED = {"Qr": "QR"}
MODELS = [found for _, found in inspect.getmembers(models, dataclasses.is_dataclass)]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_what_the_client_needs_is_always_sent(model: type) -> None:
    """A field without a default is required in the document; one that may be null there may be None here."""
    schema = SCHEMAS[OTHERWISE_NAMED.get(model.__name__, model.__name__)]
    assert dataclasses.is_dataclass(model)
    for field in dataclasses.fields(model):
        assert field.name in schema["properties"], field.name
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            assert field.name in schema["required"], field.name
        told = schema["properties"][field.name]
        nullable = {"type": "null"} in told.get("anyOf", ()) or "null" in told.get("type", ())
        assert ("None" in str(field.type)) >= nullable, field.name


@pytest.mark.parametrize(("start", "schema"), [(logins.start, "NewLoginBody"), (sessions.revoke_opened, "RevokeBody")])
def test_what_the_client_sends_is_known(start: Any, schema: str) -> None:
    """Each argument is a field of the body, but those that are headers or have another name in Python."""
    arguments = set(inspect.signature(start).parameters) - {"idempotency_key", "every_session"}
    assert arguments <= set(SCHEMAS[schema]["properties"])


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_an_error_of_its_own_kind(code: str) -> None:
    """No code is a bare LatchkeyError: each class says what the caller can do."""
    problem = {"code": code, "detail": "…", "holder": "bot-1", "expires_at": "2026-01-01T00:00:00Z"}
    error = problems.read_problem(Answer(CODES[code][0], {"retry-after": "7"}, json.dumps(problem).encode()))
    assert type(error) is not LatchkeyError
    assert isinstance(error, tuple(found for _, found in inspect.getmembers(errors, inspect.isclass)))
    assert error.code == code
    if isinstance(error, errors.LatchkeyUnavailable):
        assert error.retry_after_seconds == 7
