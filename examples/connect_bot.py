"""A bot whose users connect their own account: /connect sends them to the login's page, and the webhook lets the bot answer.

    pip install ./client && TELEGRAM_BOT_TOKEN=123456:… python examples/connect_bot.py

Only the account that wrote to the bot may log in: its id is what the login expects. See README.md beside this file.

Source: https://core.telegram.org/bots/api
"""

from __future__ import annotations

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx

from latchkey_client import Latchkey, LatchkeyError, WebhookEvent, WebhookRefused, verify_webhook

_POLL_SECONDS = 50
_RETRY_SECONDS = 5


class ConnectBot:
    """The bot: what it does with a message, and with an event."""

    def __init__(self, *, token: str, api_url: str, latchkey: Latchkey) -> None:
        self._bot_api = httpx.Client(base_url=f"{api_url}/bot{token}/", timeout=_POLL_SECONDS + 10)
        self._latchkey = latchkey
        self._next_update = 0
        self._seen: set[str] = set()

    def answer_updates(self) -> None:
        """Wait for messages, and answer /connect."""
        for update in self._call("getUpdates", offset=self._next_update, timeout=_POLL_SECONDS):
            self._next_update = update["update_id"] + 1
            message = update.get("message", {})
            if message.get("text") == "/connect" and message["chat"]["type"] == "private":
                self._start_login(message["from"]["id"])

    def take(self, event: WebhookEvent) -> None:
        """Tell the person what became of their login."""
        if event.id in self._seen or not event.data.get("end_user_id"):
            return
        self._seen.add(event.id)
        match event.type:
            case "login.authorized":
                self._say(event.data["end_user_id"], "Connected. /connect again to renew.")
            case "login.failed" | "login.expired":
                self._say(event.data["end_user_id"], "That did not work. Try again: /connect")
            case "session.invalid":
                self._say(event.data["end_user_id"], "You were disconnected.", button=event.data.get("login_url"))

    def _start_login(self, user_id: int) -> None:
        try:
            login = self._latchkey.logins.start(telegram_user_id=user_id, end_user_id=str(user_id))
        except LatchkeyError:
            self._say(user_id, "Please try again in a minute.")
            return
        if login.reused:
            self._say(user_id, "You are connected already.")
        else:
            # Telegram refuses to scan a code in the app that shows it, and codes do not belong into a chat: hence the page.
            self._say(user_id, "Connect your account here:", button=login.page_url)

    def _say(self, chat_id: int | str, text: str, *, button: str | None = None) -> None:
        buttons = {"inline_keyboard": [[{"text": "Open", "url": button}]]} if button else None
        self._call("sendMessage", chat_id=chat_id, text=text, **({"reply_markup": buttons} if buttons else {}))

    def _call(self, method: str, **fields: object) -> Any:
        return self._bot_api.post(method, json=fields).raise_for_status().json()["result"]


def serve_webhooks(bot: ConnectBot, *, secret: str, port: int) -> None:
    """Listen for Latchkey's webhooks in a thread."""

    class Receiver(BaseHTTPRequestHandler):
        """Believes what is signed."""

        def do_POST(self) -> None:
            """Take one event."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                bot.take(verify_webhook(secret, body, dict(self.headers)))
            except WebhookRefused:
                self.send_response(400)
            else:
                self.send_response(204)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", port), Receiver)
    Thread(target=server.serve_forever, daemon=True).start()


def main() -> None:
    """Run the bot until Ctrl-C."""
    bot = ConnectBot(
        token=os.environ["TELEGRAM_BOT_TOKEN"],
        api_url=os.environ.get("BOT_API_URL", "https://api.telegram.org"),
        latchkey=Latchkey(os.environ["LATCHKEY_URL"], os.environ["LATCHKEY_API_KEY"]),
    )
    serve_webhooks(bot, secret=os.environ["LATCHKEY_WEBHOOK_SECRET"], port=int(os.environ.get("PORT", "5000")))
    while True:
        try:
            bot.answer_updates()
        except httpx.HTTPError as error:
            # Never the request itself: its address has the token in it.
            print(f"Telegram cannot be reached ({type(error).__name__}); trying again", file=sys.stderr)
            time.sleep(_RETRY_SECONDS)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
