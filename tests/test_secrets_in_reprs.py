"""What holds a secret does not show it: a repr ends up in tracebacks and logs."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType

import pytest
from pydantic import BaseModel

import app
import devstack
import latchkey_client
import sandbox
import web
from app.settings import Settings

SECRET_NAMES = (
    "password", "passwords", "secret", "session_string", "string_session", "auth_key", "data_key", "data_keys", "api_hash",
    "client_secret", "login_secret", "srp_secret", "page_url", "proxy", "tenant_overrides", "token", "phone_code_hash",
    "api_key", "admin_api_key", "key", "environment", "telegram_proxy", "database_url", "redis_url", "celery_broker_url",
)  # fmt: skip
SECRETS_BY_ANOTHER_NAME = (
    "app.logins.secrets.Answer.text",
    "app.logins.view.QRView.url",
    "devstack.configuration.Configuration.settings",
    "devstack.demo._Person.types",
    "sandbox.telegram.model.PhoneMessage.code",
    "sandbox.telegram.model.PhoneMessage.text",
    "sandbox.telegram.phone_codes.SentCode.code",
)
_MAY_BE_SECRET = re.compile(r"\b(str|bytes|dict|Mapping|tuple)\b")  # not a class of its own, which shows what it likes


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """A package's modules, all of them."""
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def classes() -> Iterator[type]:
    """Every dataclass, NamedTuple and pydantic model of ours."""
    for package in (app, latchkey_client, web, devstack, sandbox):
        for module in modules(package):
            for _, found in inspect.getmembers(module, inspect.isclass):
                is_plain = dataclasses.is_dataclass(found) or hasattr(found, "_fields") or issubclass(found, BaseModel)
                if found.__module__ == module.__name__ and is_plain:
                    yield found


def shown(found: type) -> dict[str, str]:
    """The fields that the repr shows, with their types."""
    if dataclasses.is_dataclass(found):
        return {each.name: str(each.type) for each in dataclasses.fields(found) if each.repr}
    if issubclass(found, BaseModel):
        return {name: str(field.annotation) for name, field in found.model_fields.items() if field.repr}
    return {name: str(found.__annotations__[name]) for name in found._fields}  # type: ignore[attr-defined]


def is_secret(found: type, name: str, kind: str) -> bool:
    """Whether a field holds a secret as plain text."""
    path = f"{found.__module__}.{found.__qualname__}.{name}"
    return path in SECRETS_BY_ANOTHER_NAME or (name in SECRET_NAMES and bool(_MAY_BE_SECRET.search(kind)))


@pytest.mark.parametrize("found", list(classes()), ids=lambda each: f"{each.__module__}.{each.__name__}")
def test_a_secret_field_is_left_out_of_the_repr(found: type) -> None:
    """A dataclass or a model marks such a field ``repr=False``; a NamedTuple cannot, and so has none."""
    assert [name for name, kind in shown(found).items() if is_secret(found, name, kind)] == []


def test_every_secret_by_another_name_is_there() -> None:
    """What was renamed is renamed here, too."""
    there = {
        f"{found.__module__}.{found.__qualname__}.{name}"
        for found in classes()
        for name in (
            [each.name for each in dataclasses.fields(found)]
            if dataclasses.is_dataclass(found)
            else list(getattr(found, "model_fields", ()))
        )
    }
    assert set(SECRETS_BY_ANOTHER_NAME) - there == set()


def test_the_guard_sees_a_secret() -> None:
    """It must not pass because it looks at nothing."""

    @dataclasses.dataclass
    class Careless:
        password: str

    assert [name for name, kind in shown(Careless).items() if is_secret(Careless, name, kind)] == ["password"]
    assert Settings in list(classes())
