"""Serves the page that plays the phones: the files in `phone/`, as they are. Knows nothing of what the page does."""

from importlib import resources
from typing import Final

from aiohttp import web

_KINDS: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_FOLDER: Final = resources.files(__package__).joinpath("phone")
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def _file(name: str) -> web.Response:
    text = _FOLDER.joinpath(name).read_text(encoding="utf-8")
    return web.Response(text=text, content_type=_KINDS[name[name.rindex(".") :]], headers=_HEADERS)


async def _show_page(request: web.Request) -> web.Response:
    del request
    return _file("phone.html")


async def _show_part(request: web.Request) -> web.Response:
    """Answer with one of the page's own files, and nothing else of the folder's or anywhere's."""
    name = request.match_info["name"]
    if name not in {each.name for each in _FOLDER.iterdir()}:
        raise web.HTTPNotFound(text="the page has no such part")
    return _file(name)


async def _no_icon(request: web.Request) -> web.Response:
    """Spare browsers, which ask without being told to, an error in their console."""
    del request
    return web.Response(status=204)


ROUTES: Final = (
    web.get("/phone", _show_page),
    web.get(r"/phone/{name:[a-z_]+\.(?:css|js)}", _show_part),
    web.get("/favicon.ico", _no_icon),
)
