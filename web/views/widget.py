"""The widget: a script that opens the hosted page in a dialog of a tenant's own page.

It is the same for everybody and holds no secret. Which pages may embed a login's page is said by that page's policy.
"""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response, make_response, render_template, request

from web.page_texts import LANGUAGES, TEXTS, is_right_to_left

widget = APIBlueprint("widget", __name__, enable_openapi=False)

_KEPT_SECONDS = 3600
_ITS_TEXTS = ("heading", "close", "open_tab", "tab_waiting")


@widget.get("/widget.js")
def show_widget() -> Response:
    """Show the script to any page; browsers keep it for an hour."""
    script = render_template(
        "widget.js",
        texts={language: {key: TEXTS[language][key] for key in _ITS_TEXTS} for language in LANGUAGES},
        right_to_left=list(filter(is_right_to_left, LANGUAGES)),
        style=render_template("widget.css"),
    )
    response = make_response(script)
    response.mimetype = "text/javascript"
    response.headers["Cache-Control"] = f"public, max-age={_KEPT_SECONDS}"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.add_etag()
    response.make_conditional(request)  # changes it
    return response
