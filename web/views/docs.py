"""The reference as a page: the OpenAPI document, rendered on the server. It needs no network, and no script to be read.

The script finds, switches the examples' language, and tries calls against this very server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from apiflask import APIBlueprint, APIFlask
from flask import Response, current_app, redirect
from markupsafe import Markup, escape
from werkzeug.wrappers import Response as BaseResponse

from web.problems import CODES
from web.views.docs_examples import body_of, examples_of
from web.views.page import render_page

docs = APIBlueprint("docs", __name__, enable_openapi=False)

Schema = Mapping[str, Any]
_LIMITS = (
    ("minLength", "length ≥"),
    ("maxLength", "length ≤"),
    ("minItems", "items ≥"),
    ("maxItems", "items ≤"),
    ("maxProperties", "members ≤"),
    ("minimum", "≥"),
    ("maximum", "≤"),
    ("exclusiveMinimum", ">"),
    ("exclusiveMaximum", "<"),
    ("pattern", "matches"),
)


class Field(NamedTuple):
    """One row of a table: a member of a schema, or a parameter."""

    name: str
    kind: Markup
    required: bool
    text: str


@docs.get("/docs")
def show_docs() -> Response:
    """Show the reference"""
    app = current_app
    assert isinstance(app, APIFlask)
    spec = app.spec
    assert isinstance(spec, dict)
    return render_page(
        "docs.html",
        spec=spec,
        groups=_groups(spec),
        schemas={name: list(_members(schema)) for name, schema in sorted(spec["components"]["schemas"].items())},
        parameters_of=lambda operation: list(map(_parameter, operation.get("parameters", ()))),
        body_of=lambda operation: _content(operation.get("requestBody", {})),
        content_of=_content,
        prose=_prose,
        codes=CODES,
        examples_of=lambda method, path, operation: examples_of(spec, method, path, operation),
        example_body=lambda operation: _example_body(spec, operation),
        names_in=lambda path: re.findall(r"\{(\w+)}", path),
    )


@docs.get("/")
def lead_to_docs() -> BaseResponse:
    """Lead whoever comes without knowing where to the reference."""
    return redirect("/docs")


def _example_body(spec: Mapping[str, Any], operation: Mapping[str, Any]) -> str | None:
    body = body_of(spec, operation)
    return None if body is None else json.dumps(body, indent=2, ensure_ascii=False)


def _prose(text: str) -> Markup:
    """Text in which `backticks` mark code."""
    pieces = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if index % 2 else escape(piece) for index, piece in enumerate(pieces)
    )


def _groups(spec: Mapping[str, Any]) -> dict[str, list[tuple[str, str, Mapping[str, Any]]]]:
    """Operations by tag: method, path, operation."""
    groups: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {tag["name"]: [] for tag in spec["tags"]}
    for path, operations in sorted(spec["paths"].items()):
        for method, operation in operations.items():
            if method != "parameters":
                groups[operation["tags"][0]].append((method.upper(), path, operation))
    return {name: operations for name, operations in groups.items() if operations}


def _members(schema: Schema) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, member in schema.get("properties", {}).items():
        yield Field(name=name, kind=_kind(member), required=name in required, text=_text(member))


def _parameter(parameter: Mapping[str, Any]) -> Field:
    kind = _kind(parameter["schema"]) + Markup(" <small>in {}</small>").format(parameter["in"])
    return Field(parameter["name"], kind, bool(parameter.get("required")), _text(parameter["schema"]))


def _content(holder: Mapping[str, Any]) -> Markup:
    """The media types of a body or an answer, each with its schema."""
    parts = [
        Markup("{}: {}").format(media_type, _kind(content.get("schema", {})))
        for media_type, content in holder.get("content", {}).items()
    ]
    return Markup(", ").join(parts)


def _kind(schema: Schema) -> Markup:
    """Say in a word or two what a schema takes; other schemas are links."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#schema-{0}">{0}</a>').format(name)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return Markup(" or ").join(_kind(option) for option in schema[word])
    if "enum" in schema:
        return Markup(" · ").join(Markup("<code>{}</code>").format(value) for value in schema["enum"])
    if schema.get("type") == "array":
        return Markup("array of ") + _kind(schema.get("items", {}))
    types = schema.get("type", "anything")
    return escape(" or ".join(types) if isinstance(types, list) else schema.get("format", types))


def _text(schema: Schema) -> str:
    """A field's description, and its limits."""
    options = [schema, *schema.get("anyOf", ())]
    limits = [f"{label} {option[name]}" for option in options for name, label in _LIMITS if name in option]
    if schema.get("default") is not None:
        limits.append(f"default {schema['default']}")
    return " ".join(filter(None, (schema.get("description", ""), f"({', '.join(limits)})" if limits else "")))
