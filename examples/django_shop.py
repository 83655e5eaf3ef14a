"""A shop on Django, in one file, whose customers connect their Telegram account. See README.md beside this file.

pip install django ./client && python examples/django_shop.py
"""

from __future__ import annotations

import os
import secrets
from wsgiref.simple_server import make_server

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from latchkey_client import Latchkey, WebhookRefused, verify_webhook

SHOP_URL = os.environ["SHOP_URL"].rstrip("/")
settings.configure(
    ALLOWED_HOSTS=["*"],
    SECRET_KEY=secrets.token_hex(),
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
)
latchkey = Latchkey(os.environ["LATCHKEY_URL"], os.environ["LATCHKEY_API_KEY"])

sessions: dict[str, str] = {}  # customer -> Latchkey's session id: a model of yours
seen: set[str] = set()  # ids of events that came already: another one


def current_customer(_: HttpRequest) -> str:
    """Who asks: by your own authentication."""
    return "alice"


def account(request: HttpRequest) -> HttpResponse:
    """Show whether the customer's account is connected."""
    if current_customer(request) in sessions:
        return HttpResponse("Your Telegram account is connected.")
    return HttpResponse(
        '<form method="post" action="/account/telegram">'
        f'<input type="hidden" name="csrfmiddlewaretoken" value="{get_token(request)}">'
        "<button>Connect Telegram</button></form>"
    )


@require_POST
def connect(request: HttpRequest) -> HttpResponse:
    """Start a login for the customer and send them to its page; they come back to /account."""
    login = latchkey.logins.start(end_user_id=current_customer(request), redirect_url=f"{SHOP_URL}/account")
    if login.reused and login.session_id:
        sessions[current_customer(request)] = login.session_id
        return redirect("/account")
    return redirect(login.page_url)


@csrf_exempt  # Latchkey has no cookie of yours; its signature is what counts
@require_POST
def webhook(request: HttpRequest) -> HttpResponse:
    """Take what happened, once, if Latchkey signed it."""
    try:
        event = verify_webhook(os.environ["LATCHKEY_WEBHOOK_SECRET"], request.body, request.headers)
    except WebhookRefused:
        return HttpResponseBadRequest()
    if event.id not in seen:
        seen.add(event.id)
        customer = event.data.get("end_user_id")
        if event.type == "login.authorized" and customer:
            sessions[customer] = event.data["session_id"]
        if event.type in {"session.invalid", "session.revoked"} and customer:
            sessions.pop(customer, None)
    return HttpResponse(status=204)


urlpatterns = [
    path("account", account),
    path("account/telegram", connect),
    path("webhooks/latchkey", webhook),
]

if __name__ == "__main__":
    with make_server("127.0.0.1", int(os.environ.get("PORT", "5000")), get_wsgi_application()) as server:
        server.serve_forever()
