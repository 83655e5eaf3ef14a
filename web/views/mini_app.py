"""The Mini App: the hosted page inside Telegram, whose user is known by what Telegram signed."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response

from app.clock import utc_now
from app.core import Core
from app.errors import NotFound, RateLimited, Unavailable
from app.idempotency import Answer, answer_once
from app.logins.mini_app import (
    Opener,
    forget_opening,
    has_mini_app,
    note_opening,
    once_for,
    read_mini_app_tenant,
    start_mini_app_login,
    verify_init_data,
)
from app.logins.page import LoginPage, page_of_tenant
from app.logins.service import Reader, read_login
from app.tenants.limits import Quota
from web.openapi import answers, answers_problems
from web.parts import parts
from web.rate_headers import remember_quota
from web.views.login_bodies import MiniAppBody, StartedLoginView, show_started
from web.views.logins import REUSED
from web.views.page import render_login_page

mini_app = APIBlueprint("mini_app", __name__, url_prefix="/miniapp", tag="Mini App")

TELEGRAM_SCRIPT = "https://telegram.org/js/telegram-web-app.js"
"""Source: https://core.telegram.org/bots/webapps#initializing-mini-apps"""

# Telegram in a browser shows Mini Apps in frames; its other apps show them in windows of their own.
_TELEGRAM_WEB = "https://*.telegram.org"


@mini_app.get("")
@answers_problems("not_found")
@mini_app.doc(responses=answers("The page.", media_type="text/html"))
def show_mini_app() -> Response:
    """Show the hosted page inside Telegram

    For a bot's buttons and menu. There is none without `TELEGRAM_BOT_TOKEN` or `TELEGRAM_BOT_ID`.
    """
    _require_bot()
    core = parts().core
    try:
        known = page_of_tenant(core, read_mini_app_tenant(core))
    except Unavailable:
        known = LoginPage()  # the page will say so by itself
    return render_login_page(
        known, frame_ancestors=_TELEGRAM_WEB, settings={"miniApp": True}, telegram_script=TELEGRAM_SCRIPT
    )


@mini_app.post("/logins")
@answers_problems(
    "init_data_invalid", "init_data_expired", "not_found", "rate_limited", "tenant_disabled", "unavailable"
)
@mini_app.input(MiniAppBody, arg_name="body")
@mini_app.output(StartedLoginView, status_code=202, description="On its way.")
@mini_app.doc(responses=REUSED)
def start_from_mini_app(body: MiniAppBody) -> Response:
    """Start the login of whoever opened the Mini App

    `init_data` is proof of who that is: only this account may log in. It is taken for an hour, and always leads to the same
    login.
    """
    _require_bot()
    core = parts().core
    opener = verify_init_data(core.settings, body.init_data.get_secret_value(), now=utc_now())
    tenant = read_mini_app_tenant(core)
    _charge(opener, tenant_id=tenant.id)

    def start() -> Answer:
        started = start_mini_app_login(core, tenant=tenant, opener=opener)
        shown = show_started(started, public_url=core.settings.public_url)
        headers = {"Content-Type": "application/json", "Location": f"/v1/logins/{started.login.id}"}
        return Answer(started.status_code, headers, shown.model_dump_json().encode())

    with parts().starts.turn():
        answer, replayed = answer_once(core, once_for(opener, tenant=tenant), start)
    told = _as_it_is_now(core, answer.body) if replayed else answer.body
    return Response(told, answer.status_code, answer.headers)


def _as_it_is_now(core: Core, body: bytes) -> bytes:
    """The same login's answer, with what has become of the login since."""
    shown = StartedLoginView.model_validate_json(body)
    now = read_login(core, login_id=shown.id, reader=Reader(client_secret=shown.client_secret))
    return shown.model_copy(update=dict(now)).model_dump_json().encode()


def _charge(opener: Opener, *, tenant_id: str) -> None:
    """Count a start, by person and by tenant; what only asks for its own login again counts as a look at it."""
    core, limits, settings = parts().core, parts().limits, parts().core.settings
    if not note_opening(core, opener):
        remember_quota(limits.hit(Quota("mini-app-repeats", opener.digest, settings.read_rate_per_minute)))
        return
    person = Quota("logins-per-person", str(opener.telegram_user_id), settings.strict_rate_per_minute)
    try:
        remember_quota(limits.hit(person, Quota("logins", tenant_id, settings.login_rate_per_minute)))
    except (RateLimited, Unavailable):
        forget_opening(core, opener)
        raise


def _require_bot() -> None:
    if not has_mini_app(parts().core.settings):
        raise NotFound("There is no Mini App here.")
