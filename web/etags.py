"""``ETag`` on what is read with a key or a login's secret, and ``If-None-Match``: who has the answer already hears 304.

The tag is of the body's bytes, so that it changes when, and only when, the answer would. Streams and exports have none.
"""

from __future__ import annotations

from http import HTTPStatus

from flask import Flask, Response, current_app, request

from web.auth import Access

# A login's answer shows a login token: no cache keeps that, a caller may.
_NEVER_STORED = "logins"
CONDITIONS = {
    "HTTP_IF_NONE_MATCH",
    "HTTP_IF_MATCH",
    "HTTP_IF_MODIFIED_SINCE",
    "HTTP_IF_UNMODIFIED_SINCE",
    "HTTP_RANGE",
}


def install_etags(app: Flask) -> None:
    """Tag an app's answers; call after ``install_observation``, which counts what is really sent."""
    app.after_request(_add)


def _add(response: Response) -> Response:
    view = current_app.view_functions.get(request.endpoint or "")
    access: Access | None = getattr(view, "access", None)
    read = access is not None and request.method in ("GET", "HEAD") and response.status_code == HTTPStatus.OK
    if not read or response.is_streamed:
        return response
    response.add_etag()
    if request.blueprint != _NEVER_STORED:
        response.headers["Cache-Control"] = "private, no-cache"
    if CONDITIONS & request.environ.keys():
        response.make_conditional(request)
    return response
