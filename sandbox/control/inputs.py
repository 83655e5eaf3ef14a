"""The control API's longer inputs: login URLs and faults. Turns text into values, or says what is wrong with it."""

import base64
import binascii
from typing import Final
from urllib.parse import parse_qs, urlsplit

from sandbox.control.bodies import Body, BodyError
from sandbox.telegram.errors import RpcError
from sandbox.telegram.faults import UPDATE_SOURCES, Fault

MAXIMUM_DELAY_MS: Final = 600_000
_MAXIMUM_TIMES: Final = 1_000_000


def login_token(url: str) -> bytes:
    """Return the login token in a tg://login URL.

    Raises:
        RpcError: AUTH_TOKEN_INVALID.
    """
    parts = urlsplit(url.strip())
    tokens = parse_qs(parts.query).get("token", [])
    if (parts.scheme, parts.netloc or parts.path) != ("tg", "login") or len(tokens) != 1:
        raise RpcError("AUTH_TOKEN_INVALID")
    try:
        return base64.b64decode(tokens[0] + "=" * (-len(tokens[0]) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as exc:
        raise RpcError("AUTH_TOKEN_INVALID") from exc


def fault_of(body: Body) -> Fault:
    """Read a fault.

    Raises:
        BodyError: it has no method or no effect, or effects that exclude each other.
    """
    method = body.take("method", str)
    fault = Fault(
        method=method or "",
        error=body.take("error", str),
        delay_seconds=(body.take_number("delay_ms", minimum=0, maximum=MAXIMUM_DELAY_MS) or 0) / 1000,
        drop_connection=body.take("drop_connection", bool) or False,
        silent=body.take("silent", bool) or False,
        lose_update=body.take("lose_update", bool) or False,
        times=body.take_number("times", minimum=1, maximum=_MAXIMUM_TIMES) or 1,
        user_id=body.take("user_id", int),
        auth_key_id=body.take_key_id("auth_key_id"),
    )
    body.finish()
    if not fault.method:
        raise BodyError("method is missing: a TL name such as auth.exportLoginToken, or *")
    call_effects = [fault.error, fault.delay_seconds, fault.drop_connection, fault.silent]
    if fault.lose_update and any(call_effects):
        raise BodyError("lose_update is a fault of its own: post the other effects as a second fault")
    if fault.lose_update and fault.method not in UPDATE_SOURCES:
        raise BodyError(f"lose_update wants one of these methods: {', '.join(sorted(UPDATE_SOURCES))}")
    if not fault.lose_update and not any(call_effects):
        raise BodyError("the fault has no effect: error, delay_ms, drop_connection, silent or lose_update")
    return fault
