"""A shop on Flask whose customers connect their Telegram account. See README.md beside this file.

pip install flask ./client && python examples/flask_shop.py
"""

from __future__ import annotations

import os

from flask import Flask, abort, redirect, request
from werkzeug import Response

from latchkey_client import Latchkey, WebhookRefused, verify_webhook

SHOP_URL = os.environ["SHOP_URL"].rstrip("/")
latchkey = Latchkey(os.environ["LATCHKEY_URL"], os.environ["LATCHKEY_API_KEY"])
app = Flask(__name__)

sessions: dict[str, str] = {}  # customer -> Latchkey's session id: a table of yours
seen: set[str] = set()  # ids of events that came already: another one


def current_customer() -> str:
    """Who asks: by your own authentication."""
    return "alice"


@app.get("/account")
def account() -> str:
    """Show whether the customer's account is connected."""
    if current_customer() in sessions:
        return "Your Telegram account is connected."
    return '<form method="post" action="/account/telegram"><button>Connect Telegram</button></form>'


@app.post("/account/telegram")
def connect() -> Response:
    """Start a login for the customer and send them to its page; they come back to /account."""
    login = latchkey.logins.start(end_user_id=current_customer(), redirect_url=f"{SHOP_URL}/account")
    if login.reused and login.session_id:
        sessions[current_customer()] = login.session_id
        return redirect("/account", 303)
    return redirect(login.page_url, 303)


@app.post("/webhooks/latchkey")
def webhook() -> tuple[str, int]:
    """Take what happened, once, if Latchkey signed it."""
    try:
        event = verify_webhook(os.environ["LATCHKEY_WEBHOOK_SECRET"], request.get_data(), dict(request.headers))
    except WebhookRefused:
        abort(400)
    if event.id not in seen:
        seen.add(event.id)
        customer = event.data.get("end_user_id")
        if event.type == "login.authorized" and customer:
            sessions[customer] = event.data["session_id"]
        if event.type in {"session.invalid", "session.revoked"} and customer:
            sessions.pop(customer, None)
    return "", 204


if __name__ == "__main__":
    app.run(port=int(os.environ.get("PORT", "5000")))
