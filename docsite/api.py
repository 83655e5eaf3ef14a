"""The pages of the HTTP API and of its errors, from the OpenAPI document that the web role serves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from apiflask import APIFlask

from docsite.markdown import code, page, table

Schema = Mapping[str, Any]

_LIMITS = {
    "minLength": "length ≥",
    "maxLength": "length ≤",
    "minItems": "items ≥",
    "maxItems": "items ≤",
    "maxProperties": "members ≤",
    "minimum": "≥",
    "maximum": "≤",
    "exclusiveMinimum": ">",
    "exclusiveMaximum": "<",
}
_CODE = re.compile(r"^`([a-z_]+)`:", re.MULTILINE)
_KEYS = {"ApiKey": "an API key", "LoginSecret": "the login's `client_secret` in the header `Login-Secret`"}

_ABOUT_API = """The machine-readable form of this page is [openapi.json](../openapi.json), which the web role serves at
`/openapi.json`; its `/docs` shows the same without a network. `Authorization: Bearer lk_…` goes with every call, except
where another key is named. Times are RFC 3339 in UTC. Unknown fields are errors. Every error is a
[problem](errors.md)."""


def api_page(app: APIFlask) -> str:
    """Every call and every schema."""
    spec = app.spec
    assert isinstance(spec, dict)
    parts = [_ABOUT_API]
    for name, operations in _groups(spec).items():
        parts.append(f"## {name}")
        parts += [_operation(*operation) for operation in operations]
    parts.append("## Schemas")
    parts += [_schema(name, schema) for name, schema in sorted(spec["components"]["schemas"].items())]
    return page("API", *parts)


def _groups(spec: Mapping[str, Any]) -> dict[str, list[tuple[str, str, Mapping[str, Any]]]]:
    groups: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {tag["name"]: [] for tag in spec["tags"]}
    for path, operations in sorted(spec["paths"].items()):
        for method, operation in operations.items():
            if method != "parameters":
                groups[operation["tags"][0]].append((method.upper(), path, operation))
    return {name: operations for name, operations in groups.items() if operations}


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    keys = [_KEYS[name] for way in operation.get("security", ()) for name in way]
    body = _content(operation.get("requestBody", {}))
    parameters = [
        _field(each["name"], each["schema"], each.get("required", False), each["in"])
        for each in operation.get("parameters", ())
    ]
    answers = operation["responses"].items()
    good = [[code(status), each["description"], _content(each)] for status, each in answers if status < "4"]
    refusals = [name for status, each in answers if status >= "4" for name in _CODE.findall(each["description"])]
    return "\n\n".join(
        filter(
            None,
            (
                f"### {operation['summary']} {{ #{operation['operationId']} }}",
                code(f"{method} {path}"),
                operation.get("description", ""),
                f"Key: {' or '.join(keys) or 'none'}.",
                table(["parameter", "kind", "is"], parameters),
                f"Body: {body}." if body else "",
                table(["answer", "when", "holds"], good),
                f"Refusals: {', '.join(map(_link_error, refusals))}." if refusals else "",
            ),
        )
    )


def _link_error(name: str) -> str:
    return f"[{code(name)}](errors.md#{name})"


def _schema(name: str, schema: Schema) -> str:
    required = schema.get("required", ())
    fields = [_field(field, member, field in required) for field, member in schema.get("properties", {}).items()]
    text = schema.get("description", "").replace("``", "`")
    return "\n\n".join(filter(None, (f"### {name} {{ #schema-{name} }}", text, table(["field", "kind", "is"], fields))))


def _field(name: str, schema: Schema, required: bool, where: str = "") -> list[str]:
    kind = _kind(schema) + (f", in the {where}" if where else "")
    return [code(name) + (" (needed)" if required else ""), kind, _text(schema)]


def _content(holder: Mapping[str, Any]) -> str:
    return ", ".join(
        _kind(content["schema"])
        if media_type == "application/json"
        else f"{_kind(content['schema'])} as {code(media_type)}"
        for media_type, content in holder.get("content", {}).items()
        if content.get("schema")
    )


def _kind(schema: Schema) -> str:
    """A word or two for what a schema takes; other schemas are links."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#schema-{name})"
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " or ".join(_kind(option) for option in schema[word])
    if "enum" in schema:
        return " · ".join(code(value) for value in schema["enum"])
    if schema.get("type") == "array":
        return "array of " + _kind(schema.get("items", {}))
    types = schema.get("type", "anything")
    return " or ".join(types) if isinstance(types, list) else str(schema.get("format", types))


def _text(schema: Schema) -> str:
    options = [schema, *schema.get("anyOf", ())]
    limits = [f"{label} {option[name]}" for option in options for name, label in _LIMITS.items() if name in option]
    limits += [f"matches {code(option['pattern'])}" for option in options if "pattern" in option]
    if schema.get("default") is not None:
        limits.append(f"default {code(schema['default'])}")
    return " ".join(filter(None, (schema.get("description", ""), f"({', '.join(limits)})" if limits else "")))
