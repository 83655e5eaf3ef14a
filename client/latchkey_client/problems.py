"""What Latchkey answers instead of what was asked for: problem+json (RFC 9457) becomes an exception by its ``code``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from .errors import (
    AccessDenied,
    Conflict,
    InvalidRequest,
    LatchkeyError,
    LatchkeyUnavailable,
    LeaseLost,
    NotFound,
    RateLimited,
    SessionLeased,
    SessionNotActive,
)
from .steps import Answer

_BY_CODE: dict[str, type[LatchkeyError]] = {
    "session_not_active": SessionNotActive,
    "idempotency_key_in_use": LatchkeyUnavailable,  # the same request is still being worked on
    "not_found": NotFound,
    "rate_limited": RateLimited,
}
_BY_STATUS: dict[int, type[LatchkeyError]] = {
    401: AccessDenied,
    403: AccessDenied,
    409: Conflict,
    429: RateLimited,
}


def read_problem(answer: Answer) -> LatchkeyError:
    """Make the exception for an answer whose status is 400 or more."""
    problem = _members(answer)
    code, detail = str(problem.get("code", "")), str(problem.get("detail", f"Latchkey answered {answer.status}."))
    if code == "lease_lost":
        return LeaseLost(detail)
    if code == "session_leased":
        return _leased(problem, detail)
    kind = _BY_CODE.get(code) or _BY_STATUS.get(answer.status) or _by_hundred(answer.status)
    error = kind(detail, code=code or "error", status=answer.status, request_id=_text_or_none(problem, "request_id"))
    if isinstance(error, LatchkeyUnavailable):
        error.retry_after_seconds = _retry_after_seconds(answer)
    if isinstance(error, InvalidRequest):
        error.errors = _field_errors(problem)
    return error


def nonsense(what: str) -> LatchkeyUnavailable:
    """The exception for an answer that cannot be Latchkey's."""
    return LatchkeyUnavailable(f"What answered is not Latchkey: it sent {what}.", code="unavailable")


def _members(answer: Answer) -> Mapping[str, Any]:
    try:
        told = msgspec.json.decode(answer.content)
    except msgspec.DecodeError:
        return {}
    return told if isinstance(told, dict) else {}


def _by_hundred(status: int) -> type[LatchkeyError]:
    return LatchkeyUnavailable if status >= 500 else InvalidRequest


def _leased(problem: Mapping[str, Any], detail: str) -> LatchkeyError:
    try:
        until = datetime.fromisoformat(str(problem["expires_at"]))
        return SessionLeased(detail, holder=str(problem["holder"]), expires_at=until)
    except (KeyError, ValueError):
        return nonsense("a lease without holder or end")


def _field_errors(problem: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    told = problem.get("errors")
    entries = told if isinstance(told, list) else []
    return tuple((str(each.get("field")), str(each.get("message"))) for each in entries if isinstance(each, dict))


def _retry_after_seconds(answer: Answer) -> float | None:
    told = answer.headers.get("retry-after", "")
    return float(told) if told.isdecimal() else None


def _text_or_none(problem: Mapping[str, Any], name: str) -> str | None:
    told = problem.get(name)
    return told if isinstance(told, str) else None
