"""A shop on FastAPI whose customers connect their Telegram account. See README.md beside this file.

pip install fastapi uvicorn ./client && python examples/fastapi_shop.py
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from latchkey_client import AsyncLatchkey, WebhookRefused, verify_webhook

SHOP_URL = os.environ["SHOP_URL"].rstrip("/")
latchkey = AsyncLatchkey(os.environ["LATCHKEY_URL"], os.environ["LATCHKEY_API_KEY"])

sessions: dict[str, str] = {}  # customer -> Latchkey's session id: a table of yours
seen: set[str] = set()  # ids of events that came already: another one


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Close the connections to Latchkey when the shop ends."""
    async with latchkey:
        yield


app = FastAPI(lifespan=lifespan)


def current_customer() -> str:
    """Who asks: by your own authentication."""
    return "alice"


@app.get("/account")
async def account() -> HTMLResponse:
    """Show whether the customer's account is connected."""
    if current_customer() in sessions:
        return HTMLResponse("Your Telegram account is connected.")
    return HTMLResponse('<form method="post" action="/account/telegram"><button>Connect Telegram</button></form>')


@app.post("/account/telegram")
async def connect() -> RedirectResponse:
    """Start a login for the customer and send them to its page; they come back to /account."""
    login = await latchkey.logins.start(end_user_id=current_customer(), redirect_url=f"{SHOP_URL}/account")
    if login.reused and login.session_id:
        sessions[current_customer()] = login.session_id
        return RedirectResponse("/account", 303)
    return RedirectResponse(login.page_url, 303)


@app.post("/webhooks/latchkey")
async def webhook(request: Request) -> Response:
    """Take what happened, once, if Latchkey signed it."""
    try:
        event = verify_webhook(os.environ["LATCHKEY_WEBHOOK_SECRET"], await request.body(), request.headers)
    except WebhookRefused as exc:
        raise HTTPException(400) from exc
    if event.id not in seen:
        seen.add(event.id)
        customer = event.data.get("end_user_id")
        if event.type == "login.authorized" and customer:
            sessions[customer] = event.data["session_id"]
        if event.type in {"session.invalid", "session.revoked"} and customer:
            sessions.pop(customer, None)
    return Response(status_code=204)


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "5000")))
