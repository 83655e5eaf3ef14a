"""The hosted login page: one self-contained document that gets everything else by the API.

It is the same for everybody: the secret is in the fragment, which never comes here.
"""

from __future__ import annotations

import secrets
from typing import Any

from apiflask import APIBlueprint
from flask import Response, make_response, render_template, request
from markupsafe import Markup

from app.errors import Unavailable
from app.logins.page import LoginPage, read_page
from web.dial_codes import DIAL_CODES
from web.page_texts import LANGUAGES, TEXTS, choose_language, is_right_to_left
from web.parts import parts

page = APIBlueprint("page", __name__, enable_openapi=False)

# Luminances, of white's: on a lighter accent letters are dark; letters of an accent are read on white, or in the dark.
_READABLE, _DARK_ENOUGH, _LIGHT_ENOUGH = 0.42, 0.18, 0.25


@page.get("/login/<id:login_id>")
def show_login(login_id: str) -> Response:
    """Show a login to the person in front of the screen."""
    try:
        known = read_page(parts().core, login_id=login_id)
    except Unavailable:
        known = LoginPage()  # the page will say so by itself
    language = _language(known.locale)
    return render_page(
        "login.html",
        frame_ancestor=known.origin,
        known=known,
        accent=_accent(known),
        language=language,
        languages=LANGUAGES,
        direction="rtl" if is_right_to_left(language) else "ltr",
        texts=TEXTS[language],
        fill=_fill,
        settings={
            "loginId": login_id,
            "application": known.application or "",
            "origin": known.origin,
            "disabled": known.disabled,
            "dialCodes": DIAL_CODES,
            "texts": TEXTS[language],
        },
    )


def render_page(template: str, *, frame_ancestor: str | None = None, **values: object) -> Response:
    """Render a self-contained page under a policy that runs and loads nothing else.

    Args:
        frame_ancestor: the origin whose pages may embed this one; None: nobody's.
    """
    nonce, ancestors = secrets.token_urlsafe(16), frame_ancestor or "'none'"
    response = make_response(render_template(template, nonce=nonce, **values))
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; "
        f"base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}"
    )
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return response


def _language(locale: str | None) -> str:
    """The one that the person chose, else the login's own, else the browser's, as far as there are texts for it."""
    accepted = (tag for tag, quality in request.accept_languages if quality > 0)
    return choose_language([request.args.get("lang"), locale, *accepted])


def _fill(text: str, name: str, value: str) -> Markup:
    """A text with one place filled in; what may be written the other way round turns nothing around it."""
    before, _, after = text.partition(f"{{{name}}}")
    return Markup("{}<bdi>{}</bdi>{}").format(before, value, after)


def _accent(known: LoginPage) -> dict[str, Any] | None:
    """The tenant's colour, that of letters on it, and in which themes letters of this colour can be read."""
    colour = known.brand.get("accent")
    if colour is None:
        return None
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    luminance = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
    ink = "#10151c" if luminance > _READABLE else "#fff"
    return {"ground": colour, "ink": ink, "on_light": luminance < _DARK_ENOUGH, "on_dark": luminance > _LIGHT_ENOUGH}
