"""The OpenAPI document: generated from the views by APIFlask, then told who may call and what can go wrong.

A view says which problems it answers with by ``answers_problems``; who may call it is said by ``web.auth``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from apiflask import APIFlask
from werkzeug.routing import Rule

from web.auth import Access, View
from web.problems import CODES

_RULE_ARGUMENT = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
_SCHEMAS = "#/components/schemas/"
_AUTHENTICATED = ("unauthenticated", "forbidden", "unavailable", "network_not_allowed", "rate_limited")

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. A code may add members of its own.",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": list(CODES)},
        "request_id": {"type": ["string", "null"]},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}

_IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]*$"},
    "description": "A repeat of the request under the same key gets the same answer, byte for byte, for 24 hours, and has no "
    "second effect; `Idempotent-Replayed: true` marks it. Answers that say to come again (429, 5xx) are not kept. The key is "
    "logged: make it of nothing that must not be read.",
}

_IF_NONE_MATCH: dict[str, Any] = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "An `ETag` that you have: the answer is 304 while nothing has changed.",
}
_ETAG: dict[str, Any] = {"ETag": {"description": "Of this very answer.", "schema": {"type": "string"}}}

SECURITY_SCHEMES: dict[str, Any] = {
    "ApiKey": {"type": "http", "scheme": "bearer", "description": "An API key of this tenant: lk_…"},
    "LoginSecret": {
        "type": "apiKey",
        "in": "header",
        "name": "Login-Secret",
        "description": "The client_secret of this very login, for the browser in front of the user.",
    },
}


def answers(description: str, *, media_type: str) -> dict[int | str, dict[str, str | dict[str, dict[str, Any]]]]:
    """Describe a 200 that is no JSON, for ``doc(responses=…)``."""
    return {200: {"description": description, "content": {media_type: {"schema": {"type": "string"}}}}}


def answers_problems(*codes: str) -> Callable[[View], View]:
    """Note which problems a view answers with, beside those of its authentication and its input."""

    def decorate(view: View) -> View:
        view.problem_codes = codes  # type: ignore[attr-defined]  # read below
        return view

    return decorate


def install_openapi(app: APIFlask) -> None:
    """Complete the document that APIFlask generates from an app's views."""

    @app.spec_processor
    def complete(spec: dict[str, Any] | str) -> dict[str, Any]:
        assert isinstance(spec, dict), "SPEC_FORMAT is json"
        for rule, view in _documented(app):
            path = spec["paths"].get(_RULE_ARGUMENT.sub(r"{\1}", rule.rule), {})
            for method in (rule.methods or set()) & {"GET", "POST", "PUT", "PATCH", "DELETE"}:
                if method.lower() in path:
                    _complete_operation(path[method.lower()], view, rule)
                    _require_body(path[method.lower()], spec["components"]["schemas"])
        renamed: dict[str, Any] = _rename(spec)
        schemas = renamed["components"]["schemas"]
        renamed["components"]["schemas"] = {_name(name): schema for name, schema in sorted(schemas.items())}
        renamed["components"]["schemas"]["Problem"] = PROBLEM_SCHEMA
        return renamed


def _documented(app: APIFlask) -> Iterator[tuple[Rule, Callable[..., Any]]]:
    for rule in app.url_map.iter_rules():
        yield rule, app.view_functions[rule.endpoint]


def _complete_operation(operation: dict[str, Any], view: Callable[..., Any], rule: Rule) -> None:
    operation["operationId"] = rule.endpoint.rpartition(".")[2]
    access: Access | None = getattr(view, "access", None)
    if access is not None:
        operation["security"] = [{"ApiKey": []}, *([{"LoginSecret": []}] if access.login_secret else [])]
        scope = f"Needs the scope `{access.scope}`." if access.scope else access.says
        operation["description"] = "\n\n".join(filter(None, (operation.get("description"), scope)))
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "header":
            parameter["name"] = parameter["name"].title()
    codes = list(getattr(view, "problem_codes", ()))
    if access is not None:
        codes += _AUTHENTICATED
    if rule.arguments:
        codes.append("not_found")
    if "requestBody" in operation:
        codes += ["bad_request", "request_timeout", "body_too_large", "unsupported_media_type", "invalid_request"]
    elif any(parameter["in"] != "path" for parameter in operation.get("parameters", ())):
        codes.append("invalid_request")
    if access is not None:
        codes += _add_headers(operation, rule.methods or set())
    for code in sorted(set(codes), key=lambda code: (CODES[code][0], code)):
        _add_problem(operation["responses"], code)


def _add_headers(operation: dict[str, Any], methods: set[str]) -> tuple[str, ...]:
    """Say which headers every call of its kind takes; returns the problems that come of them."""
    parameters = operation.setdefault("parameters", [])
    if "POST" in methods:
        parameters.append(_IDEMPOTENCY_KEY)
        return ("idempotency_key_reused", "idempotency_key_in_use", "conflict", "invalid_request")
    if "GET" in methods and not _is_stream(operation):
        parameters.append(_IF_NONE_MATCH)
        operation["responses"]["304"] = {"description": "It is as `If-None-Match` says: nothing has changed. No body."}
        operation["responses"]["200"]["headers"] = _ETAG
    return ()


def _require_body(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Say that a body must come where one of its members must."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        name = content["schema"].get("$ref", "").removeprefix(_SCHEMAS)
        operation["requestBody"]["required"] = bool(schemas.get(name, content["schema"]).get("required"))


def _is_stream(operation: dict[str, Any]) -> bool:
    return "text/event-stream" in operation["responses"].get("200", {}).get("content", {})


def _add_problem(responses: dict[str, Any], code: str) -> None:
    status, sentence = CODES[code]
    line = f"`{code}`: {sentence}"
    response = responses.setdefault(
        str(status),
        {
            "description": "",
            "content": {"application/problem+json": {"schema": {"$ref": _SCHEMAS + "Problem"}}},
        },
    )
    response["description"] = "\n\n".join(filter(None, (response["description"], line)))


def _rename(node: Any) -> Any:
    """Call the schemas what the API calls them: Login, where the code and APIFlask say StartedLoginView.LoginView."""
    if isinstance(node, list):
        return [_rename(item) for item in node]
    if not isinstance(node, dict):
        return node
    renamed = {key: _rename(value) for key, value in node.items()}
    if isinstance(node.get("$ref"), str):
        renamed["$ref"] = _SCHEMAS + _name(node["$ref"].removeprefix(_SCHEMAS))
    if isinstance(node.get("title"), str):
        renamed["title"] = _name(node["title"])
    return renamed


def _name(name: str) -> str:
    return name.rpartition(".")[2].removesuffix("View")
