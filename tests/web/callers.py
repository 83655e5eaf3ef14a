"""Callers of the API in one process: Alice and Bob with all scopes of their tenants, Charlie who may see nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.core import Core
from app.tenants.keys import SCOPES, create_api_key


@dataclass
class Caller:
    """Somebody with an API key, or with other headers."""

    client: FlaskClient
    tenant_id: str
    headers: dict[str, str]
    key_id: str = ""
    address: str = field(default="203.0.113.7")

    def get(self, path: str, **headers: str) -> TestResponse:
        """GET a path."""
        return self.call("GET", path, None, headers)

    def post(self, path: str, body: object = None, **headers: str) -> TestResponse:
        """POST JSON. In header names, _ stands for -."""
        return self.call("POST", path, {} if body is None else body, headers)

    def put(self, path: str, body: object) -> TestResponse:
        """PUT JSON."""
        return self.call("PUT", path, body)

    def delete(self, path: str) -> TestResponse:
        """DELETE a path."""
        return self.call("DELETE", path)

    def start_login(self, **fields: object) -> dict[str, Any]:
        """POST a login that must be taken."""
        answer = self.post("/v1/logins", fields)
        assert answer.status_code in {200, 202}, answer.text
        return members(answer)

    def call(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] = MappingProxyType({})
    ) -> TestResponse:
        """Call a path, with JSON if there is a body."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.open(
            path,
            method=method,
            json=body,
            headers=self.headers | named,
            environ_overrides={"REMOTE_ADDR": self.address},
        )


def with_key(client: FlaskClient, core: Core, *, tenant_id: str, scopes: tuple[str, ...] = SCOPES) -> Caller:
    """A caller with a new API key."""
    made = create_api_key(core.transaction, actor="test", tenant_id=tenant_id, scopes=scopes)
    return Caller(client, tenant_id, {"Authorization": f"Bearer {made.key}"}, key_id=made.id)


def members(answer: TestResponse) -> dict[str, Any]:
    """The JSON object that an answer must be."""
    told = answer.get_json()
    assert isinstance(told, dict), answer.text
    return told


def problem(answer: TestResponse, status: int, code: str) -> dict[str, Any]:
    """The problem that an answer must be."""
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json"), answer.text
    told = members(answer)
    assert told["status"] == status
    assert told["code"] == code
    assert told["type"].endswith(f"#problem-{code}")
    assert told["title"]
    assert told["detail"]
    assert told["request_id"] == answer.headers["X-Request-Id"]
    return told
