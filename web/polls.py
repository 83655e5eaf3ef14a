"""Reading a login by the shortest way: what an application that polls asks for, again and again, more often than anything else.

``GET /v1/logins/{id}`` with an API key that this process knows, and with nothing that changes the answer, is answered before
Flask sees it: Flask, its hooks and a response of its own cost twice as much as all that the answer takes. Limits, headers, log
line and counters are those of every call, made by the same functions. Whatever is not that plain, or goes wrong, goes Flask's
way, and is counted once: ``web.limits.CHARGED``.

What was answered is kept, and given again while the row, read anew each time, and the sealed token are what it was made of.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from werkzeug.http import quote_etag
from werkzeug.wsgi import ClosingIterator

from app.clock import utc_now
from app.errors import AppError, Unavailable
from app.logins.service import read_shown_rows, show_login
from app.logs import get_logger
from app.models import Login
from app.redis_state import login_qr_key
from app.tenants.keys import Caller
from app.tenants.limits import Call, Counted, QuotaState
from app.together import Together
from web.cross_origin import ANSWER_HEADERS
from web.etags import CONDITIONS
from web.limits import CHARGED, quotas_of_key
from web.observe import ALWAYS_SENT, BEGUN, Begun, begin_request, note_answer
from web.parts import Parts
from web.rate_headers import rate_headers

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Wsgi = Callable[[Environ, StartResponse], Iterable[bytes]]

_log = get_logger(__name__)

ROUTE = "/v1/logins/<id:login_id>"

_PATH = re.compile(r"/v1/logins/([A-Za-z0-9_-]{1,80})")
_KEY = re.compile(r"Bearer (lk_[\w-]+)")
_NOT_PLAIN = CONDITIONS | {"CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"}
_HEADERS = (("Content-Type", "application/json"), *ALWAYS_SENT.items(), *ANSWER_HEADERS.items())
_MOST = 4_000


class _Kept(NamedTuple):
    """An answer, and what it was made of; ``until`` is when its QR code is over."""

    login: Login
    sealed_token: bytes | None
    until: datetime | None
    body: bytes
    etag: str


class _Poll(NamedTuple):
    login_id: str
    caller: Caller


class _Found(NamedTuple):
    """What the stores say to a poll; ``login`` is None if it is refused, or if there is no such login for the caller."""

    counted: Counted
    login: Login | None


class Polls:
    """WSGI: answers plain polls itself, and leaves everything else to the app that it stands in front of."""

    def __init__(self, app: Wsgi, of: Parts) -> None:
        self._app = app
        self._of = of
        self._amount = of.core.settings.read_rate_per_minute
        # Both stores in one round, so that as many as possible share it: to wake a store costs more than to answer a poll.
        self._finds = Together(self._find_all)
        self._kept: dict[str, _Kept] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        path = _PATH.fullmatch(environ["PATH_INFO"])
        if path is None or not _is_plain(environ):
            return self._app(environ, start_response)
        caller = self._recognise(environ)
        if caller is None or "logins" not in caller.scopes:
            return self._app(environ, start_response)
        environ[BEGUN] = begun = begin_request(environ, {"login_id": path[1]})
        shown = self._find_and_show(environ, _Poll(path[1], caller))
        if shown is None:
            return self._app(environ, start_response)  # which meets the same, and says what is wrong
        return self._answer(environ, start_response, caller, begun, shown)

    def _recognise(self, environ: Environ) -> Caller | None:
        key = _KEY.fullmatch(environ.get("HTTP_AUTHORIZATION", ""))
        try:
            return key and self._of.known_keys.remembered(key=key[1], address=environ.get("REMOTE_ADDR"))
        except AppError:
            return None

    def _find_and_show(self, environ: Environ, poll: _Poll) -> _Kept | None:
        """What is to be answered; None if something is wrong. Notes in the environ that the poll was counted."""
        try:
            found = self._finds.ask(poll)
            environ[CHARGED] = found.counted.refused or found.counted.state
            return None if found.login is None else self._show(found.login, found.counted.value)
        except AppError:
            return None
        except Exception as exc:  # noqa: BLE001  # a fault of ours is one caller's 500 on Flask's way, where those are counted
            _log.error("poll.failed", exc_info=exc)
            return None

    def _find_all(self, polls: list[_Poll]) -> list[_Found]:
        counted = self._of.limits.hit_all_if_known(
            [Call(quotas_of_key("reads", poll.caller, self._amount), login_qr_key(poll.login_id)) for poll in polls]
        )
        allowed = [poll.login_id for poll, each in zip(polls, counted, strict=True) if each.refused is None]
        try:
            logins = read_shown_rows(self._of.core, allowed) if allowed else {}
        except Unavailable:
            logins = {}
        return [
            _Found(each, _of_caller(logins.get(poll.login_id), poll.caller) if each.refused is None else None)
            for poll, each in zip(polls, counted, strict=True)
        ]

    def _show(self, login: Login, sealed_token: bytes | None) -> _Kept:
        kept = self._kept.get(login.id)
        if (
            kept is not None
            and kept.login == login
            and kept.sealed_token == sealed_token
            and (kept.until is None or kept.until > utc_now())
        ):
            return kept
        view = show_login(self._of.core, login, read_value=lambda _key: sealed_token)
        body = view.model_dump_json(by_alias=True).encode()
        etag = quote_etag(hashlib.sha1(body).hexdigest())  # noqa: S324  # as Werkzeug makes them
        made = _Kept(login, sealed_token, view.qr.expires_at if view.qr is not None else None, body, etag)
        # Made of the row and the token alone: an account may change, a wait gets shorter, and what does not open may yet.
        if login.session_id is None and login.retry_after_at is None and (sealed_token is None or view.qr is not None):
            if len(self._kept) >= _MOST:
                self._kept.clear()
            self._kept[login.id] = made
        return made

    def _answer(
        self,
        environ: Environ,
        start_response: StartResponse,
        caller: Caller,
        begun: Begun,
        shown: _Kept,
    ) -> Iterable[bytes]:
        standing: QuotaState | None = environ[CHARGED]
        headers = [
            ("Content-Length", str(len(shown.body))),
            ("X-Request-Id", begun.request_id),
            ("ETag", shown.etag),
            *_HEADERS,
            *(() if standing is None else rate_headers(standing)),
        ]
        log = note_answer(
            begun,
            method="GET",
            path=environ["PATH_INFO"],
            route=ROUTE,
            status=200,
            remote=environ.get("REMOTE_ADDR"),
            log_fields={"tenant_id": caller.tenant_id, "api_key_id": caller.key_id},
            metrics=self._of.http_metrics,
        )
        start_response("200 OK", headers)
        return ClosingIterator([shown.body], log)


def _of_caller(login: Login | None, caller: Caller) -> Login | None:
    return login if login is not None and login.tenant_id == caller.tenant_id else None


def _is_plain(environ: Environ) -> bool:
    """Whether nothing but the path and the key says what is to be answered."""
    return (
        environ["REQUEST_METHOD"] == "GET"
        and not environ.get("QUERY_STRING")
        and not environ.get("SCRIPT_NAME")
        and _NOT_PLAIN.isdisjoint(environ)
    )
