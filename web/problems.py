"""Errors as callers see them: RFC 9457 problems, for everything that goes wrong, Flask's own errors too.

One table turns the error tree into statuses; ``CODES`` lists every code with what the caller can do about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

from apiflask import HTTPError
from flask import Flask, Response, current_app, g, json, request
from werkzeug.exceptions import HTTPException

from app.clock import rfc3339
from app.errors import (
    AppError,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    RateLimited,
    StillWorkedOn,
    Transient,
    Unauthenticated,
    Unavailable,
)
from app.logs import get_logger
from app.tenants.limits import QuotaUsedUp
from app.vault.wrapping import KeyUnavailable
from web.rate_headers import remember_quota
from web.refusals import sample_refusal

_log = get_logger(__name__)

STATUSES: dict[type[AppError], int] = {
    InvalidInput: 422,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    RateLimited: 429,
    Unavailable: 503,
    Transient: 503,
    KeyUnavailable: 503,
    AppError: 500,
}

CODES: dict[str, tuple[int, str]] = {
    "bad_request": (400, "The request cannot be read: its body is not JSON, say. Mend it."),
    "unauthenticated": (401, "No valid API key came along. Send Authorization: Bearer lk_…"),
    "init_data_invalid": (401, "The Mini App's initData was not signed by the bot. Open the Mini App anew."),
    "init_data_expired": (401, "The Mini App's initData is too old. Open the Mini App anew."),
    "forbidden": (403, "The API key lacks the scope. Use another key."),
    "network_not_allowed": (403, "The API key may not be used from this address. Use it from its networks."),
    "not_found": (404, "There is no such thing, or it is another tenant's. Check the id and the key."),
    "method_not_allowed": (405, "This address does not know this method; Allow names those that it does."),
    "request_timeout": (408, "The body came too slowly. Send it within 10 s."),
    "conflict": (409, "The thing is not in a state that allows the call. Look at it again first."),
    "idempotency_key_reused": (409, "The Idempotency-Key came with another request before. Use a new one."),
    "idempotency_key_in_use": (
        409,
        "The first request of this Idempotency-Key is still being worked on. Repeat it after Retry-After.",
    ),
    "login_final": (409, "The login is over. Look at its status."),
    "no_qr": (409, "The login shows no QR code right now. Look at its status."),
    "not_waiting_for_password": (409, "The login does not wait for a password. Look at its status."),
    "not_waiting_for_code": (409, "The login does not wait for a code. Look at its status."),
    "cannot_switch": (
        409,
        "The login cannot go another way now: it waits for a password, or is over. Look at its status.",
    ),
    "cannot_start_again": (409, "The login is under way, succeeded, or is more than an hour old. Start a new one."),
    "session_leased": (409, "Somebody else holds the session until expires_at. Come back then."),
    "session_not_active": (409, "The session cannot be opened in its status. Look at it."),
    "session_exists": (409, "The auth key is a session already, or its user has an active one. Revoke that first."),
    "lease_lost": (409, "The lease ran out or was given up. Stop using the session and acquire a new one."),
    "tenant_exists": (409, "There is a tenant of that id. Choose another."),
    "too_many_webhooks": (409, "The tenant has as many webhooks as it may. Delete one first."),
    "tenant_disabled": (409, "The tenant is disabled. Enable it first."),
    "body_too_large": (413, "The body is over 64 KiB. Send a smaller one."),
    "uri_too_long": (414, "The address is over 4,094 characters. Send a shorter one."),
    "unsupported_media_type": (415, "The body is of another type. Send application/json."),
    "invalid_request": (422, "Fields are missing, unknown or out of range; errors names each."),
    "headers_too_large": (
        431,
        "A header is over 8,190 characters, or there are more than 100. Send fewer and shorter ones.",
    ),
    "rate_limited": (429, "Too many calls. Retry-After says when to come back."),
    "internal_error": (500, "A fault on our side. Report the request_id."),
    "unavailable": (503, "Something that Latchkey needs is away; nothing was done. Try again after Retry-After."),
    "not_ready": (503, "This process cannot serve right now; checks names what is missing."),
}

_CODE_OF_STATUS = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "conflict",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    429: "rate_limited",
    503: "unavailable",
}


def install_problems(app: Flask) -> None:
    """Answer every error of an app with a problem."""
    app.register_error_handler(AppError, from_app_error)
    app.register_error_handler(HTTPError, _from_validation)
    app.register_error_handler(HTTPException, _from_http_exception)


def problem(
    *,
    status: int,
    code: str,
    detail: str,
    extras: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Build one problem.

    Args:
        extras: members beside the standard ones.
    """
    members = describe_problem(
        public_url=current_app.config["PUBLIC_URL"],
        status=status,
        code=code,
        detail=detail,
        request_id=g.get("request_id"),
    )
    response = Response(json.dumps(members | dict(extras or {})), status, mimetype="application/problem+json")
    response.headers.update(dict(headers or {}))
    response.headers["Cache-Control"] = "no-store"
    return response


def describe_problem(
    *, public_url: str, status: int, code: str, detail: str, request_id: str | None
) -> dict[str, object]:
    """The members that every problem has."""
    return {
        "type": f"{public_url}/docs#problem-{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }


def status_of(error: AppError) -> int:
    """The HTTP status of an error."""
    return next(STATUSES[parent] for parent in type(error).__mro__ if parent in STATUSES)


def from_app_error(error: AppError) -> Response:
    """Answer an error of Latchkey's own with its problem."""
    status = status_of(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:  # what it says is for operators
        _log.error("request.failed", exc_info=error)
        return _internal_error()
    if status > HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("request.unavailable", error=error.detail, cause=type(error.__cause__).__name__)
        if not isinstance(error, Unavailable):  # a sentence for operators here as well: it names keys and their places
            error = Unavailable("Something that Latchkey needs is away; nothing was done. Try again.")
    sample_refusal(error)
    headers = {}
    extras = {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in error.extras().items()}
    if isinstance(error, RateLimited | Unavailable | StillWorkedOn):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, QuotaUsedUp):
        remember_quota(error.state)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="latchkey"'
    if isinstance(error, InvalidInput):
        extras["errors"] = [{"field": field, "message": message} for field, message in error.errors]
    return problem(status=status, code=error.code, detail=error.detail, extras=extras, headers=headers)


def _from_validation(error: HTTPError) -> Response:
    """APIFlask's validation of a body, a query or headers: ``detail`` is location → field → messages."""
    details: dict[str, dict[str, list[str]]] = error.detail if isinstance(error.detail, dict) else {}
    errors = [
        {"field": _field(location, field), "message": message.removeprefix("Value error, ")}
        for location, fields in details.items()
        for field, messages in fields.items()
        for message in messages
    ]
    names = ", ".join(dict.fromkeys(entry["field"] for entry in errors if entry["field"])) or "the request"
    return problem(
        status=error.status_code,
        code="invalid_request",
        detail=f"Check {names}.",
        extras={"errors": errors},
    )


def _field(location: str, field: str) -> str:
    if location == "headers":
        return field.replace("_", "-").title()
    return "" if field == "_schema" else field.removesuffix(".[key]")


def _from_http_exception(error: HTTPException) -> Response | HTTPException:
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    if status < HTTPStatus.BAD_REQUEST:
        return error  # a redirect
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return _internal_error()  # Flask has logged the exception behind it
    code = _CODE_OF_STATUS.get(status, HTTPStatus(status).name.lower())
    headers: dict[str, Any] = {name: value for name, value in error.get_headers() if name in {"Allow", "Retry-After"}}
    return problem(status=status, code=code, detail=_sentence(status, error), headers=headers)


def _internal_error() -> Response:
    return problem(status=500, code="internal_error", detail="A fault on our side; report the request_id.")


def _sentence(status: int, error: HTTPException) -> str:
    if status == HTTPStatus.NOT_FOUND:
        return f"There is nothing at {request.path[:200]}."
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"This address does not know {request.method[:20]}."
    return error.description or HTTPStatus(status).description
