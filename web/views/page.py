"""The hosted login page: one self-contained document that gets everything else by the API.

It is the same for everybody: the secret is in the fragment, which never comes here.
"""

from __future__ import annotations

import gzip
import re
import secrets
from collections.abc import Callable, Mapping
from functools import lru_cache
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

_LEVEL = 6  # more costs time and saves no more
# Luminances, of white's: letters on a brighter accent are dark; shades that can be read on white, and in the dark.
_BRIGHT, _DARK_ENOUGH, _LIGHT_ENOUGH = 0.42, 0.18, 0.25
_STEP = 0.05
_COMMENT = re.compile(r"//.*|/\*.*\*/")


@page.get("/login/<id:login_id>")
def show_login(login_id: str) -> Response:
    """Show a login to the person in front of the screen."""
    try:
        known = read_page(parts().core, login_id=login_id)
    except Unavailable:
        known = LoginPage()  # the page will say so by itself
    return render_login_page(known, frame_ancestors=known.origin or "'none'", settings={"loginId": login_id})


def render_login_page(
    known: LoginPage,
    *,
    frame_ancestors: str,
    settings: Mapping[str, object],
    telegram_script: str | None = None,
) -> Response:
    """Render the page that shows a login.

    Args:
        frame_ancestors: whose pages may embed it, as the policy names them.
        settings: what the page's script has to know beside what both kinds of the page share.
        telegram_script: where Telegram's own script is, for the page inside Telegram; None: it is an ordinary page.
    """
    language = _language(known.locale)
    return render_page(
        "login.html",
        frame_ancestors=frame_ancestors,
        script_source=telegram_script,
        known=known,
        accent=_accent(known),
        language=language,
        languages=LANGUAGES,
        direction="rtl" if is_right_to_left(language) else "ltr",
        texts=TEXTS[language],
        fill=_fill,
        settings={
            "application": known.application or "",
            "origin": known.origin,
            "disabled": known.disabled,
            "dialCodes": DIAL_CODES,
            "texts": TEXTS[language],
            **settings,
        },
    )


def render_page(
    template: str, *, frame_ancestors: str = "'none'", script_source: str | None = None, **values: object
) -> Response:
    """Render a self-contained page under a policy that runs and loads nothing else.

    Args:
        frame_ancestors: whose pages may embed it, as the policy names them.
        script_source: the one script from elsewhere that may run; None: there is none.
    """
    nonce = secrets.token_urlsafe(16)
    scripts = " ".join(filter(None, (f"'nonce-{nonce}'", script_source)))
    response = _packed(render_template(template, nonce=nonce, script_source=script_source, **values).encode())
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src {scripts}; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; "
        f"base-uri 'none'; form-action 'none'; frame-ancestors {frame_ancestors}"
    )
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return response


@page.app_template_filter("lean")
@lru_cache(maxsize=16)
def _lean(source: str) -> str:
    """A script or a style sheet without what browsers do not need: lines that are only a comment, and indentation."""
    lines = (line.strip() for line in source.splitlines())
    return "\n".join(line for line in lines if line and not _COMMENT.fullmatch(line))


def _packed(document: bytes) -> Response:
    """The document as the browser takes it: a third of its weight on the way.

    Nothing in it is secret, so that its packed length tells nobody anything.
    """
    packed = request.accept_encodings["gzip"] > 0
    response = make_response(gzip.compress(document, _LEVEL, mtime=0) if packed else document)
    response.headers["Vary"] = "Accept-Encoding, Accept-Language"
    if packed:
        response.headers["Content-Encoding"] = "gzip"
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
    """The tenant's colour, in shades that can be read: under letters, on white, and in the dark."""
    colour = known.brand.get("accent")
    if colour is None:
        return None
    on_light = _shade(colour, towards=0, until=lambda shade: _luminance(shade) < _DARK_ENOUGH)
    on_dark = _shade(colour, towards=255, until=lambda shade: _luminance(shade) > _LIGHT_ENOUGH)
    under = (
        {"ground": colour, "ink": "#10151c"} if _luminance(colour) > _BRIGHT else {"ground": on_light, "ink": "#fff"}
    )
    return {**under, "on_light": on_light, "on_dark": on_dark}


def _shade(colour: str, *, towards: int, until: Callable[[str], bool]) -> str:
    """The colour, mixed with black (0) or white (255) as far as it needs."""
    channels, share = _channels(colour), 0.0
    while not until(colour):
        share += _STEP
        colour = "#" + "".join(f"{round(each + (towards - each) * share):02x}" for each in channels)
    return colour


def _luminance(colour: str) -> float:
    red, green, blue = (each / 255 for each in _channels(colour))
    return float(0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2)


def _channels(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
