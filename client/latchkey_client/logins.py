"""Logins: start one, follow it, show its QR code, pass on what the person typed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from .errors import Conflict, InvalidRequest
from .exchange import content, exchange, place, post, reads, said
from .models import Login, Method, StartedLogin
from .steps import CALL_SECONDS, Ask, Flow, Item, ManyFlow, Request

LONGEST_WAIT_SECONDS = 30.0
_ANSWER_LIFE_SECONDS = 60.0  # what was typed is forgotten after that, when nobody could take it


def start(
    *,
    telegram_user_id: int | None = None,
    end_user_id: str | None = None,
    session_id: str | None = None,
    method: Method | None = None,
    phone: str | None = None,
    replace: bool | None = None,
    locale: str | None = None,
    redirect_url: str | None = None,
    origin: str | None = None,
    metadata: Mapping[str, object] | None = None,
    idempotency_key: str | None = None,
) -> Flow[StartedLogin]:
    """Start a login. Send the person to ``page_url`` of what comes back, or show the QR code yourself.

    Args:
        telegram_user_id: who is expected; anybody else is refused.
        end_user_id: your own name for the person.
        session_id: log in again for this session, which keeps its id.
        method: ``code`` for people whose only device is in their hand; needs ``phone``.
        replace: log in anew even if an active session serves.
        redirect_url: where the page leads afterwards; on your tenant's list.
        origin: the page that embeds the login page; on your tenant's list.
        metadata: comes back with the login and its webhooks.
        idempotency_key: names this start: the same one again within 24 h starts nothing. None: a new one, so that a start whose
            answer got lost can be sent again.

    Returns:
        With ``reused`` when an active session serves already: nobody has to scan.

    Raises:
        Conflict: ``idempotency_key_reused``.
        NotFound, SessionNotActive: of ``session_id``.
        RateLimited, InvalidRequest, AccessDenied, LatchkeyUnavailable.
    """
    body = said(
        telegram_user_id=telegram_user_id,
        end_user_id=end_user_id,
        session_id=session_id,
        method=method,
        phone=phone,
        replace=replace,
        locale=locale,
        redirect_url=redirect_url,
        origin=origin,
        metadata=metadata,
    )
    request = post("logins", body=body, idempotency_key=idempotency_key)
    return (yield from exchange(request, reads(StartedLogin)))


def read(login_id: str) -> Flow[Login]:
    """Read a login.

    Raises:
        NotFound, AccessDenied, LatchkeyUnavailable.
    """
    return (yield from exchange(_get(login_id), reads(Login)))


def next_version(login_id: str, *, version: int, wait_seconds: float = LONGEST_WAIT_SECONDS) -> Flow[Login]:
    """Read a login when it has changed: a long poll.

    Args:
        version: the one you have.
        wait_seconds: 0 to 30. When the login has not changed by then, it comes as it is.

    Raises:
        NotFound, AccessDenied, LatchkeyUnavailable.
    """
    request = Request(
        method="GET",
        path=place("logins", login_id),
        query={"wait": wait_seconds, "version": version},
        repeatable=True,
        seconds=wait_seconds + CALL_SECONDS,
    )
    return (yield from exchange(request, reads(Login)))


def follow(login_id: str, *, version: int | None = None) -> ManyFlow[Login]:
    """Hand out a login as it is, then after each change; the last one is final.

    Args:
        version: the one you have: hand out newer ones only.

    Raises:
        NotFound, AccessDenied, LatchkeyUnavailable.
    """
    seen = -1 if version is None else version
    while True:
        login = yield from next_version(login_id, version=max(seen, 0), wait_seconds=LONGEST_WAIT_SECONDS)
        if login.version > seen:
            seen = login.version
            yield Item(login)
        if login.final:
            return


def wait(login_id: str, *, timeout_seconds: float | None = None) -> Flow[Login]:
    """Wait until a login is over.

    Args:
        timeout_seconds: None: for as long as it lives, ten minutes unless Latchkey is set up otherwise.

    Returns:
        The login: ``authorized``, ``expired``, ``failed`` or ``cancelled``.

    Raises:
        TimeoutError: it is not over yet.
        NotFound, AccessDenied, LatchkeyUnavailable.
    """
    give_up_at = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    login = yield from read(login_id)
    while not login.final:
        left = LONGEST_WAIT_SECONDS if give_up_at is None else give_up_at - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"The login is {login.status} still.")
        login = yield from next_version(
            login_id, version=login.version, wait_seconds=min(LONGEST_WAIT_SECONDS, round(left, 2))
        )
    return login


def connect(
    login_id: str,
    *,
    on_change: Callable[[Login], Any] | None = None,
    ask_password: Callable[[Login], Any] | None = None,
    ask_code: Callable[[Login], Any] | None = None,
) -> Flow[Login]:
    """Go through a login with a person in front of this program: in a terminal, in a bot.

    Args:
        on_change: called with the login after each change: show ``login.qr.url`` while there is one.
        ask_password: returns the 2FA password that the person typed; None from it: no answer now, the login goes on waiting.
        ask_code: returns the login code, likewise.

        Each may be a coroutine function in the async client. Each is asked anew while attempts are left.

    Returns:
        The login when it is over.

    Raises:
        whatever ``next_version`` and the functions raise.
    """
    questions = {
        "password_required": (ask_password, submit_password),
        "code_required": (ask_code, submit_code),
    }
    version, answered, answer_lost_at = -1, None, 0.0
    while True:
        login = yield from next_version(login_id, version=max(version, 0), wait_seconds=LONGEST_WAIT_SECONDS)
        if login.version > version:
            version = login.version
            if on_change is not None:
                yield Ask(on_change, login)
        if login.final:
            return login
        ask, submit = questions.get(login.status, (None, None))
        standing = (login.status, login.password, login.code)
        if ask is None or submit is None or (standing == answered and time.monotonic() < answer_lost_at):
            continue
        yield from _answer(login, ask, submit)
        answered, answer_lost_at = standing, time.monotonic() + _ANSWER_LIFE_SECONDS


def _answer(login: Login, ask: Callable[[Login], Any], submit: Callable[[str, str], Flow[Login]]) -> Flow[None]:
    while True:
        typed = yield Ask(ask, login)
        if typed is None:
            return
        try:
            yield from submit(login.id, str(typed))
        except InvalidRequest:  # it cannot be the code that was sent: no attempt is lost
            continue
        except Conflict:  # the login has moved on meanwhile
            return
        return


def qr_svg(login_id: str) -> Flow[bytes]:
    """Draw the current QR code as SVG.

    Raises:
        Conflict: ``no_qr``: there is none right now.
        NotFound, AccessDenied, LatchkeyUnavailable.
    """
    return (yield from exchange(_get(login_id, "qr.svg"), content))


def qr_png(login_id: str) -> Flow[bytes]:
    """Draw the current QR code as PNG. Raises as ``qr_svg`` does."""
    return (yield from exchange(_get(login_id, "qr.png"), content))


def submit_password(login_id: str, password: str) -> Flow[Login]:
    """Pass on the 2FA password, byte for byte; what became of it is in the login's next version.

    Raises:
        Conflict: ``not_waiting_for_password``.
        RateLimited, NotFound, AccessDenied, LatchkeyUnavailable.
    """
    return (yield from exchange(post("logins", login_id, "password", body={"password": password}), reads(Login)))


def submit_code(login_id: str, code: str) -> Flow[Login]:
    """Pass on the login code, in any form that people write it; what became of it is in the login's next version.

    Raises:
        Conflict: ``not_waiting_for_code``.
        InvalidRequest: it cannot be the code that was sent; no attempt is lost.
        RateLimited, NotFound, AccessDenied, LatchkeyUnavailable.
    """
    return (yield from exchange(post("logins", login_id, "code", body={"code": code}), reads(Login)))


def resend_code(login_id: str) -> Flow[Login]:
    """Ask Telegram for the login code once more, by its next way of delivery. Raises as ``submit_code`` does."""
    return (yield from exchange(post("logins", login_id, "code", "resend"), reads(Login)))


def switch_method(login_id: str, *, method: Method, phone: str | None = None) -> Flow[Login]:
    """Let the same login go on the other way: by phone code, or by QR code.

    Args:
        phone: needed with ``code``, refused with ``qr``.

    Raises:
        Conflict: ``cannot_switch``.
        RateLimited, InvalidRequest, NotFound, AccessDenied, LatchkeyUnavailable.
    """
    return (
        yield from exchange(post("logins", login_id, "method", body=said(method=method, phone=phone)), reads(Login))
    )


def again(login_id: str) -> Flow[StartedLogin]:
    """Start a login that ended without a session again. For a client with the login's own secret, not with an API key.

    Raises:
        Conflict: ``cannot_start_again``.
        AccessDenied: the client has an API key: start a new login instead.
        RateLimited, NotFound, LatchkeyUnavailable.
    """
    return (yield from exchange(post("logins", login_id, "again"), reads(StartedLogin)))


def cancel(login_id: str) -> Flow[Login]:
    """Cancel a login.

    Raises:
        Conflict: ``login_final``.
        NotFound, AccessDenied, LatchkeyUnavailable.
    """
    return (yield from exchange(Request(method="DELETE", path=place("logins", login_id)), reads(Login)))


def _get(login_id: str, *parts: str) -> Request:
    return Request(method="GET", path=place("logins", login_id, *parts), repeatable=True)
