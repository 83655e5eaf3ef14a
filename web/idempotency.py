"""``Idempotency-Key`` on every POST that takes a key or a login's secret (``web.auth`` calls it); see ``app.idempotency``.

A request is told from another by its address and its validated body: spaces, the order of members and left out defaults make no
difference.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from flask import Response, current_app, g, request
from pydantic import BaseModel, SecretStr, ValidationError
from sqlalchemy.orm import Session as DatabaseSession

from app.correlation import correlate
from app.errors import AppError, InvalidInput
from app.idempotency import Answer, Asked, Owner, answer_once
from app.logins.service import Reader, find_readable
from app.logs import redact
from app.tenants.keys import Caller
from web.parts import parts
from web.problems import from_app_error, status_of

HEADER, REPLAYED = "Idempotency-Key", "Idempotent-Replayed"

View = Callable[..., Any]

_KEY = re.compile(r"[ -~]{1,255}")
_LOGIN = re.compile(r"/v1/logins/(\w+)$")
_KEPT_HEADERS = ("Content-Type", "Location")
_NOT_KEPT = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


def call_once(view: View, arguments: dict[str, Any], *, on_replay: Callable[[], None]) -> Any:
    """Call a view, or give the answer that the same request under the same key got before.

    Args:
        arguments: of the route.
        on_replay: called before an answer is given again; it may refuse.

    Raises:
        InvalidInput: the key is no key.
        Whatever the view and ``answer_once`` raise.
    """
    key = request.headers.get(HEADER)
    if request.method != "POST" or key is None:
        return view(**arguments)
    if not _KEY.fullmatch(key):
        message = "must be 1 to 255 printable ASCII characters"
        raise InvalidInput(f"Check {HEADER}.", errors=((HEADER, message),))
    correlate(idempotency_key=redact(key))
    body = _canonical_body(view)
    if body is None:
        return view(**arguments)  # it says what is wrong
    asked = Asked(
        key=key,
        identify=lambda db: _identify(db, arguments),
        request="\n".join((request.full_path, body)),
        subject=next(iter(arguments.values()), None),
    )
    answered: list[Response] = []

    def work() -> Answer:
        answered[:] = [_call(view, arguments)]
        return _to_answer(answered[0])

    answer, replayed = answer_once(parts().core, asked, work)
    if not replayed:
        return answered[0]
    if (subject := _LOGIN.search(answer.headers.get("Location", ""))) is not None:
        correlate(login_id=subject[1])
    on_replay()
    _check_replay(view, arguments, answer)
    return Response(answer.body, answer.status_code, answer.headers | {REPLAYED: "true"})


def replays_if(check: Callable[[dict[str, Any], dict[str, Any]], None]) -> Callable[[View], View]:
    """Have a check decide whether a view's answer may be given again.

    Args:
        check: takes the route's arguments and the answer's members; raises ``AppError`` if the answer must not be given again.
    """

    def decorate(view: View) -> View:
        view.check_replay = check  # type: ignore[attr-defined]  # read below
        return view

    return decorate


def _check_replay(view: View, arguments: dict[str, Any], answer: Answer) -> None:
    check = getattr(view, "check_replay", None)
    if check is not None and answer.status_code < HTTPStatus.BAD_REQUEST:
        check(arguments, json.loads(answer.body))


def _call(view: View, arguments: dict[str, Any]) -> Response:
    try:
        return current_app.make_response(view(**arguments))
    except AppError as exc:
        status = status_of(exc)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _NOT_KEPT:
            raise
        return from_app_error(exc)


def _to_answer(response: Response) -> Answer:
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    return Answer(response.status_code, headers, response.get_data())


def _identify(db: DatabaseSession, arguments: dict[str, Any]) -> Owner:
    reader = g.get("reader")
    if isinstance(reader, Reader) and reader.tenant_id is None:
        login = find_readable(db, login_id=arguments["login_id"], reader=reader)
        namespace = f"login {login.id}" if reader.client_secret is not None else "tenant"
        return Owner(login.tenant_id, namespace)
    caller = g.caller
    assert isinstance(caller, Caller)
    return Owner(caller.tenant_id, "tenant")


def _canonical_body(view: View) -> str | None:
    """The body as the view will take it, written one way; None if it is none that the view takes."""
    innermost = inspect.unwrap(view)
    annotation = innermost.__annotations__.get("body")
    if annotation is None:
        return ""
    model = innermost.__globals__[annotation]
    assert issubclass(model, BaseModel)
    try:
        body = model.model_validate(request.get_json())
    except ValidationError:
        return None
    return json.dumps(body.model_dump(), sort_keys=True, default=_spell)


def _spell(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
