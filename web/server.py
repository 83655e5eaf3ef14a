"""The server's own errors as problems: a request that it refuses never gets as far as Flask.

Named as the worker class by ``deploy/gunicorn.py``; imported by nothing else.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from gunicorn import util
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.workers.ggevent import GeventWorker

from app.ids import new_id
from app.logs import get_logger
from web.problems import CODES, describe_problem

_log = get_logger(__name__)


class ProblemWorker(GeventWorker):  # type: ignore[misc]  # Gunicorn is not annotated
    """Gunicorn's gevent worker, which says no in ``application/problem+json`` and not in HTML."""

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that could not be read, or an application that failed in the middle."""
        code = _code_of(exc)
        request_id = new_id("req")
        if code == "internal_error":
            _log.error("server.failed", request_id=request_id, exc_info=exc)
        else:
            _log.info("server.refused", request_id=request_id, error=type(exc).__name__)
        status, detail = CODES[code]
        body = json.dumps(
            describe_problem(
                public_url=self.wsgi.config["PUBLIC_URL"],
                status=status,
                code=code,
                detail=detail,
                request_id=request_id,
            )
        )
        try:
            util.write_nonblock(client, _answer(status, body, request_id=request_id))
        except OSError:
            _log.debug("server.caller_left", request_id=request_id)


def _code_of(exc: BaseException) -> str:
    match exc:
        case LimitRequestLine():
            return "uri_too_long"
        case LimitRequestHeaders():
            return "headers_too_large"
        case ParseException():
            return "bad_request"
    return "internal_error"


def _answer(status: int, body: str, *, request_id: str) -> bytes:
    lines = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Connection: close",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body.encode())}",
        f"X-Request-Id: {request_id}",
        "Cache-Control: no-store",
    )
    return "\r\n".join((*lines, "", body)).encode()
