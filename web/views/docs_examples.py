"""Examples of each call for the reference: curl, Python and TypeScript, generated from the OpenAPI document.

Only what must be said is said, and what most callers will say; a test has the running application take each of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

Operation = Mapping[str, Any]

KEY, SECRET = "lk_…", "the login's client_secret"

_IDS = {
    "login_id": "lgn_4p1c8m5q7w2e9r6t3y0a",
    "session_id": "ses_4p1c8m5q7w2e9r6t3y0a",
    "lease_id": "lse_4p1c8m5q7w2e9r6t3y0a",
    "tenant_id": "acme",
    "key_id": "key_4p1c8m5q7w2e9r6t3y0a",
    "webhook_id": "whe_4p1c8m5q7w2e9r6t3y0a",
    "event_id": "msg_4p1c8m5q7w2e9r6t3y0a",
}
_BODIES: dict[str, dict[str, object]] = {
    "start": {"end_user_id": "customer-17", "redirect_url": "https://acme.example/connected"},
    "post_password": {"password": "…"},
    "post_code": {"code": "12345"},
    "post_method": {"method": "code", "phone": "+49 151 23456789"},
    "post_session": {"session_string": "1A…"},
    "revoke_many": {"holder": "old-bot"},
    "acquire": {"holder": "bot-1", "ttl_seconds": 600},
    "renew": {"ttl_seconds": 600},
    "post_tenant": {"id": "acme", "name": "Acme"},
    "patch_tenant": {"name": "Acme Inc."},
    "patch_own_tenant": {"brand": {"name": "Acme", "accent": "#0a7c66"}, "origins": ["https://acme.example"]},
    "patch_webhook": {"events": ["login.authorized", "session.invalid"]},
    "post_webhook": {"url": "https://acme.example/hook", "events": ["login.authorized", "session.invalid"]},
    "post_replay": {"since": "2027-01-31T00:00:00Z"},
    "post_key": {"scopes": ["logins", "sessions:read"], "name": "website"},
    "patch_key": {"expires_at": "2030-12-31T00:00:00Z"},
}
_VALUES: dict[str, object] = {"init_data": "query_id=…"}
_QUERIES: dict[str, dict[str, object]] = {
    "get": {"wait": 25, "version": 3},
    "list_all": {"status": "active", "limit": 50},
    "list_audit": {"action": "session.opened", "since": "2027-01-31T00:00:00Z"},
    "delete_tenant": {"purge": "true"},
}


class Example(NamedTuple):
    """One call as a program would write it. ``language`` is a name for people."""

    language: str
    code: str


def body_of(spec: Mapping[str, Any], operation: Operation) -> dict[str, object] | None:
    """The body that an example sends; None: there is none."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None
    known = _BODIES.get(operation["operationId"])
    if known is not None:
        return known
    schema = _resolved(spec, content["schema"])
    return {name: _value(name) for name in schema.get("required", ())}


def path_of(path: str) -> str:
    """The path of an example, with an id where one belongs."""
    return re.sub(r"\{(\w+)}", lambda found: _IDS.get(found[1], found[1]), path)


def examples_of(spec: Mapping[str, Any], method: str, path: str, operation: Operation) -> list[Example]:
    """The same call in each language."""
    query = urlencode(_QUERIES.get(operation["operationId"], {}))
    url = spec["servers"][0]["url"] + path_of(path) + (f"?{query}" if query else "")
    header = _header(operation)
    body = body_of(spec, operation)
    return [
        Example("curl", _curl(method, url, header, body)),
        Example("Python", _python(method, url, header, body)),
        Example("TypeScript", _typescript(method, url, header, body)),
    ]


def _curl(method: str, url: str, header: tuple[str, str] | None, body: dict[str, object] | None) -> str:
    lines = [f"curl {'' if method == 'GET' else f'-X {method} '}'{url}'"]
    if header:
        lines.append(f"-H '{header[0]}: {header[1]}'".replace("login's", "login'\\''s"))
    if body is not None:
        quoted = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")
        lines += ["-H 'Content-Type: application/json'", f"-d '{quoted}'"]
    return " \\\n  ".join(lines)


def _python(method: str, url: str, header: tuple[str, str] | None, body: dict[str, object] | None) -> str:
    arguments = [f'"{url}"']
    if header:
        arguments.append(f'headers={{"{header[0]}": "{header[1]}"}}')
    if body is not None:
        arguments.append(f"json={_pythonic(body)}")
    inside = "".join(f"    {argument},\n" for argument in arguments)
    return f"import httpx\n\nanswer = httpx.{method.lower()}(\n{inside})\nanswer.raise_for_status()\nprint(answer.text)"


def _typescript(method: str, url: str, header: tuple[str, str] | None, body: dict[str, object] | None) -> str:
    headers = dict([header]) if header else {}
    if body is not None:
        headers["Content-Type"] = "application/json"
    options = [f'method: "{method}"'] if method != "GET" else []
    if headers:
        options.append(f"headers: {json.dumps(headers, ensure_ascii=False)}")
    if body is not None:
        options.append(f"body: JSON.stringify({json.dumps(body, ensure_ascii=False)})")
    inside = "".join(f"  {option},\n" for option in options)
    call = f'fetch("{url}", {{\n{inside}}})' if options else f'fetch("{url}")'
    return (
        f"const answer = await {call};\nif (!answer.ok) throw new Error((await answer.json()).detail);\n"
        "console.log(await answer.text());"
    )


def _header(operation: Operation) -> tuple[str, str] | None:
    ways = [next(iter(way)) for way in operation.get("security", ())]
    if not ways:
        return None
    return ("Authorization", f"Bearer {KEY}") if "ApiKey" in ways else ("Login-Secret", SECRET)


def _resolved(spec: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return spec["components"]["schemas"][name] if name else schema


def _value(name: str) -> object:
    return _VALUES.get(name, "…")


def _pythonic(value: object) -> str:
    return (
        json.dumps(value, ensure_ascii=False).replace("true", "True").replace("false", "False").replace("null", "None")
    )
