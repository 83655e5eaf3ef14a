"""What holds a secret does not show it: a repr ends up in tracebacks and logs."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import app
import client
import web

SECRET_NAMES = (
    "password", "secret", "session_string", "string_session", "auth_key", "data_key", "api_hash", "client_secret", "proxy",
    "tenant_overrides",
)  # fmt: skip


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """A package's modules, all of them."""
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def classes() -> Iterator[type]:
    """Every dataclass and NamedTuple of ours."""
    for package in (app, client, web):
        for module in modules(package):
            for _, found in inspect.getmembers(module, inspect.isclass):
                is_ours = found.__module__ == module.__name__
                if is_ours and (dataclasses.is_dataclass(found) or hasattr(found, "_fields")):
                    yield found


@pytest.mark.parametrize("found", list(classes()), ids=lambda each: f"{each.__module__}.{each.__name__}")
def test_a_secret_field_is_left_out_of_the_repr(found: type) -> None:
    """A dataclass marks such a field ``repr=False``; a NamedTuple cannot, and so has none."""
    if dataclasses.is_dataclass(found):
        shown = [field.name for field in dataclasses.fields(found) if field.repr and field.type not in ("bool",)]
    else:
        shown = list(getattr(found, "_fields", ()))
    assert [name for name in shown if name in SECRET_NAMES] == []
