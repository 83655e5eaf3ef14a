"""Logins: start one, watch it, show its QR code, pass on what the user typed, cancel it."""

from __future__ import annotations

import io
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import segno
from apiflask import APIBlueprint
from flask import Response, g, request

from app.errors import Conflict, Unauthenticated
from app.logins.repeating import repeat_login
from app.logins.service import cancel_login, read_login, read_login_of, resend_code, submit_code, submit_password
from app.logins.start import StartedLogin, start_login
from app.logins.switching import switch_method
from app.logins.view import LoginView
from app.tenants.keys import Caller
from app.tenants.limits import Quota
from app.tenants.own_settings import check_allowed
from web.answers import send
from web.auth import current_caller, current_reader, needs, needs_login_answerer, needs_login_reader
from web.limits import charge_code
from web.openapi import answers, answers_problems
from web.parts import parts
from web.rate_headers import remember_quota
from web.streams import stream_events, wait_for_change
from web.views.login_bodies import (
    CodeBody,
    EventsQuery,
    MethodBody,
    NewLoginBody,
    PasswordBody,
    StartedLoginView,
    WaitQuery,
    show_started,
)
from web.watch import Viewer, Who

logins = APIBlueprint("logins", __name__, url_prefix="/v1/logins", tag="Logins")

_QR_MASK = 2  # any of the eight will do for random bytes; trying all of them costs 5 ms of the 6 that a code takes
_EVENTS = "Events of type `login`: id is the version, data a Login. Ends after a final state."
REUSED: dict[int | str, dict[str, str | dict[str, dict[str, Any]]]] = {
    200: {
        "description": "An active session serves: `reused` is true, nobody has to scan.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/StartedLoginView"}}},
    }
}


@logins.post("")
@answers_problems("rate_limited", "not_found", "session_not_active")
@needs("logins", limit="own", in_turn=True)
@logins.input(NewLoginBody, arg_name="body")
@logins.output(StartedLoginView, status_code=202, description="On its way.")
@logins.doc(responses=REUSED)
def start(body: NewLoginBody) -> tuple[StartedLoginView, int, dict[str, str]]:
    """Start a login

    While a login of the same
    `telegram_user_id` is under way, that one is the answer; another one of the same `end_user_id` is cancelled.
    """
    caller, per_minute = current_caller(), parts().core.settings.login_rate_per_minute
    remember_quota(
        parts().limits.hit(
            Quota("logins-per-key", caller.key_id, per_minute), Quota("logins", caller.tenant_id, per_minute)
        )
    )
    check_allowed(
        parts().core.transaction, tenant_id=caller.tenant_id, redirect_url=body.redirect_url, origin=body.origin
    )
    if body.phone is not None:
        charge_code(body.phone)
    started = start_login(
        parts().core,
        tenant_id=caller.tenant_id,
        request=replace(body.to_request(), api_key_id=caller.key_id),
    )
    return _show(started), started.status_code, {"Location": f"/v1/logins/{started.login.id}"}


@logins.get("/<id:login_id>")
@needs_login_reader()
@logins.input(WaitQuery, location="query", arg_name="query")
@logins.output(LoginView)
def get(login_id: str, query: WaitQuery) -> Response:
    """Read a login

    With `wait`, answers when its version exceeds `version`, when it is final, or when the time is up.
    """
    if query.wait == 0:
        return send(read_login(parts().core, login_id=login_id, reader=current_reader()))
    with ExitStack() as opened:
        viewer, login = _view(login_id, opened)
        return send(
            wait_for_change(
                parts().core,
                viewer,
                login=login,
                reader=current_reader(),
                version=query.version,
                wait_seconds=query.wait,
            )
        )


@logins.get("/<id:login_id>/events")
@needs_login_reader()
@logins.input(EventsQuery, location="query", arg_name="query")
@logins.doc(responses=answers(_EVENTS, media_type="text/event-stream"))
def events(login_id: str, query: EventsQuery) -> Response:
    """Stream a login's changes

    Server-sent events: the Login at once, then after every change; a comment every 15 s. Whatever a `Last-Event-ID` says, who
    comes back is told the Login as it is: its last state is all that there is to know. With `qr=svg`, each new QR code comes
    drawn, in an event of type `qr` before the Login that has it: `{"url", "svg"}`.
    """
    core, reader, streams = parts().core, current_reader(), parts().http_metrics.streams
    with ExitStack() as opened:
        viewer, login = _view(login_id, opened)
        opened.enter_context(streams.track_inprogress())
        closing = opened.pop_all()
    draw = _draw_svg if query.qr == "svg" else None
    stream = stream_events(core, viewer, login=login, reader=reader, draw=draw)
    response = Response(stream, mimetype="text/event-stream")
    response.call_on_close(closing.close)
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
    return response


@logins.get("/<id:login_id>/qr.svg")
@answers_problems("no_qr")
@needs_login_reader()
@logins.doc(responses=answers("The QR code.", media_type="image/svg+xml"))
def qr_svg(login_id: str) -> Response:
    """Draw the current QR code as SVG"""
    return _draw(login_id, kind="svg", mimetype="image/svg+xml")


@logins.get("/<id:login_id>/qr.png")
@answers_problems("no_qr")
@needs_login_reader()
@logins.doc(responses=answers("The QR code.", media_type="image/png"))
def qr_png(login_id: str) -> Response:
    """Draw the current QR code as PNG"""
    return _draw(login_id, kind="png", mimetype="image/png")


@logins.post("/<id:login_id>/password")
@answers_problems("not_waiting_for_password", "rate_limited")
@needs_login_answerer()
@logins.input(PasswordBody, arg_name="body")
@logins.output(LoginView, status_code=202, description="Passed on; the answer is the login's next version.")
def post_password(login_id: str, body: PasswordBody) -> LoginView:
    """Pass on the 2FA password"""
    return submit_password(
        parts().core,
        login_id=login_id,
        reader=current_reader(),
        password=body.password.get_secret_value(),
        allow=lambda: _limit_answers(login_id, "passwords"),
    )


@logins.post("/<id:login_id>/code")
@answers_problems("not_waiting_for_code", "rate_limited")
@needs_login_answerer()
@logins.input(CodeBody, arg_name="body")
@logins.output(LoginView, status_code=202, description="Passed on; the answer is the login's next version.")
def post_code(login_id: str, body: CodeBody) -> LoginView:
    """Pass on the login code

    Typed or pasted in any form: spaces, dashes and the digits of any script are understood. A code that cannot be the one that
    was sent (its length says so) is refused, and costs no attempt.
    """
    return submit_code(
        parts().core,
        login_id=login_id,
        reader=current_reader(),
        code=body.code.get_secret_value(),
        allow=lambda: _limit_answers(login_id, "codes"),
    )


@logins.post("/<id:login_id>/code/resend")
@answers_problems("not_waiting_for_code", "rate_limited")
@needs_login_reader(limit="own")
@logins.output(LoginView, status_code=202, description="Asked for; the answer is the login's next version.")
def post_resend(login_id: str) -> LoginView:
    """Ask for the login code once more

    Telegram sends it by its next way of delivery (an SMS after the app, say), where it has one.
    """
    return resend_code(
        parts().core,
        login_id=login_id,
        reader=current_reader(),
        allow=lambda: _limit_answers(login_id, "resends"),
        allow_phone=charge_code,
    )


@logins.post("/<id:login_id>/method")
@answers_problems("cannot_switch", "rate_limited")
@needs_login_reader(limit="own")
@logins.input(MethodBody, arg_name="body")
@logins.output(LoginView, status_code=202, description="The same login goes on the other way.")
def post_method(login_id: str, body: MethodBody) -> LoginView:
    """Go on by phone code instead of the QR code, or the other way round

    With method code for a login that goes by code already, the code goes to this number from now on.
    """
    return switch_method(
        parts().core,
        login_id=login_id,
        reader=current_reader(),
        method=body.method,
        phone=body.phone,
        allow=lambda: _limit_switches(login_id, body.phone),
    )


@logins.post("/<id:login_id>/again")
@answers_problems("cannot_start_again", "rate_limited")
@needs_login_reader(limit="own")
@logins.output(StartedLoginView, status_code=202, description="A new login like this one.")
def post_again(login_id: str) -> tuple[StartedLoginView, int, dict[str, str]]:
    """Start a login that ended without a session again

    For whoever holds the login's own secret: at most five times within an hour of the first one. It begins with the QR code.
    """
    secret = current_reader().client_secret
    if secret is None:
        raise Unauthenticated("Send the login's own secret: Login-Secret: ls_… With an API key, start a new login.")
    if request.remote_addr is not None:
        amount = parts().core.settings.login_rate_per_minute
        remember_quota(parts().limits.hit(Quota("repeats-per-address", request.remote_addr, amount)))
    started = repeat_login(parts().core, login_id=login_id, client_secret=secret)
    return _show(started), started.status_code, {"Location": f"/v1/logins/{started.login.id}"}


@logins.delete("/<id:login_id>")
@answers_problems("login_final")
@needs_login_reader()
@logins.output(LoginView)
def cancel(login_id: str) -> LoginView:
    """Cancel a login"""
    return cancel_login(parts().core, login_id=login_id, reader=current_reader())


def _view(login_id: str, opened: ExitStack) -> tuple[Viewer, LoginView]:
    """View a login for as long as something is open, and read it.

    Raises:
        NotFound, Unavailable: as ``read_login``.
        RateLimited: too much is open already.
    """
    reader, caller = current_reader(), g.get("caller")
    who = Who(caller.key_id, caller.tenant_id) if isinstance(caller, Caller) else None
    viewer = opened.enter_context(parts().watch.viewing(login_id, who=who))
    login, tenant_id = read_login_of(parts().core, login_id=login_id, reader=reader)
    address = request.remote_addr if who is None else None
    opened.enter_context(parts().stream_caps.open(login_id=login_id, tenant_id=tenant_id, address=address))
    return viewer, login


def _show(started: StartedLogin) -> StartedLoginView:
    return show_started(started, public_url=parts().core.settings.public_url)


def _limit_answers(login_id: str, kind: str) -> None:
    """Few tries per login; and more, but not many, per address when it is the user's own browser that calls.

    Each kind has its own: who mistyped the code must not wait for the password's form. Only whoever may read the login gets
    to use up its tries, so this is asked when that is known.
    """
    settings = parts().core.settings
    quotas = [Quota(kind, login_id, settings.strict_rate_per_minute)]
    if current_reader().client_secret is not None and request.remote_addr is not None:
        quotas.append(Quota("answers-per-address", request.remote_addr, settings.login_rate_per_minute))
    remember_quota(parts().limits.hit(*quotas))


def _limit_switches(login_id: str, phone: str | None) -> None:
    _limit_answers(login_id, "methods")
    if phone is not None:
        charge_code(phone)


def _draw(login_id: str, *, kind: str, mimetype: str) -> Response:
    login = read_login(parts().core, login_id=login_id, reader=current_reader())
    if login.qr is None:
        raise Conflict("This login shows no QR code right now; look at its status.", code="no_qr")
    return Response(_image(login.qr.url, kind), mimetype=mimetype)


def _draw_svg(url: str) -> str:
    return _image(url, "svg").decode()


def _image(url: str, kind: str) -> bytes:
    image = io.BytesIO()
    segno.make(url, error="m", micro=False, mask=_QR_MASK).save(
        image, kind=kind, scale=8, border=4, **({"xmldecl": False} if kind == "svg" else {})
    )
    return image.getvalue()
