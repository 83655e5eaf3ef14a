"""Letting a tenant's own pages follow a login: the routes that take ``Login-Secret`` answer browsers of any origin.

Nothing here goes by cookies, so that another origin gains nothing but what the secret in its hands allows. API keys do
not belong in browsers: ``Authorization`` is not among the headers that a page may send.
"""

from __future__ import annotations

from flask import Flask, Response, current_app, request

from web.auth import Access

ANSWER_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Date, ETag, Idempotent-Replayed, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id",
}
_PREFLIGHT = {
    "Access-Control-Allow-Headers": "Login-Secret, Content-Type, If-None-Match, Last-Event-ID, Idempotency-Key, X-Request-Id",
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Max-Age": "7200",
}


def install_cross_origin(app: Flask) -> None:
    """Send the headers with every answer, errors too, of the routes that a browser may call."""
    app.after_request(_add)


def _add(response: Response) -> Response:
    view = current_app.view_functions.get(request.endpoint or "")
    access: Access | None = getattr(view, "access", None)
    if access is not None and access.login_secret:
        response.headers.update(ANSWER_HEADERS)
        if request.method == "OPTIONS":
            response.headers.update(_PREFLIGHT)
    return response
