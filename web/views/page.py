"""The hosted login page: one self-contained document that gets everything else by the API.

It is the same for everybody: the secret is in the fragment, which never comes here.
"""

from __future__ import annotations

import secrets

from apiflask import APIBlueprint
from flask import Response, make_response, render_template, request

from app.errors import Unavailable
from app.logins.service import read_locale
from web.page_texts import TEXTS
from web.parts import parts

page = APIBlueprint("page", __name__, enable_openapi=False)

_FALLBACK = "en"


@page.get("/login/<id:login_id>")
def show_login(login_id: str) -> Response:
    """Show a login to the person in front of the screen."""
    language = _language(login_id)
    return render_page("login.html", login_id=login_id, language=language, texts=TEXTS[language])


def render_page(template: str, **values: object) -> Response:
    """Render a self-contained page under a policy that runs and loads nothing else."""
    nonce = secrets.token_urlsafe(16)
    response = make_response(render_template(template, nonce=nonce, **values))
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return response


def _language(login_id: str) -> str:
    """The login's own, else the browser's, as far as there are texts for it."""
    try:
        locale = read_locale(parts().core, login_id=login_id)
    except Unavailable:
        locale = None  # the page will say so by itself
    wanted = (locale or "").partition("-")[0].lower()
    return wanted if wanted in TEXTS else request.accept_languages.best_match(list(TEXTS), _FALLBACK)
